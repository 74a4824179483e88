#!/usr/bin/env python3
"""Pushes an image out of a docker daemon, changes its top layer and pushes it again: ours beside `docker push`.

usage: benches/daemon.py [--binary PATH] [-n ROUNDS] [--mib M] [--directory DIR]

It needs docker with a daemon that answers, docker-registry, and this program built with `cargo build --profile dist`.
The image has a base of M MiB in four layers, half of whose bytes compress, and a top layer of 1 MiB that is another one
in every round. Each client has a registry of its own, and this program a cache of its own; both are empty at first. CPU
is that of the client's process: what the daemon does for `docker push`, and for `docker save` on our side, is not in it.
"""

import argparse
import io
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile

from push import Registry, find_binary, measure


def layer(seed, mib):
    """A tar of one file: pieces of noise and of zeros, by turns."""
    source, data = random.Random(seed), bytearray()
    while len(data) < int(mib * (1 << 20)):
        data += source.randbytes(1 << 16) + bytes(1 << 16)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(f"data/{seed}")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return raw.getvalue()


def write_layer(path, seed, mib):
    path.write_bytes(layer(seed, mib))


def build(directory, base, name, files):
    """One layer for each file, on top of `base`; by the daemon itself."""
    lines = [f"FROM {base}"] + [f"ADD {file} /" for file in files] + ['CMD ["/function"]']
    (directory / "Dockerfile").write_text("\n".join(lines) + "\n")
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    command = ["docker", "build", "--quiet", "--tag", name, str(directory)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=None)
    parser.add_argument("-n", type=int, default=3, metavar="ROUNDS")
    parser.add_argument("--mib", type=float, default=1024)
    parser.add_argument("--directory", default=None, help="where the image, the cache and the registries are")
    given = parser.parse_args()
    binary = given.binary or find_binary() or sys.exit("no longshore: build one with `cargo build --profile dist`")
    for program in ["docker", "docker-registry"]:
        shutil.which(program) or sys.exit(f"no {program} in PATH")
    name = "longshore-bench/image"
    with tempfile.TemporaryDirectory(dir=given.directory) as work, Registry(work) as ours, Registry(work) as theirs:
        work = pathlib.Path(work)
        context = work / "context"
        context.mkdir()
        files = []
        for number in range(4):
            files.append(f"{number}.tar")
            # By a process of its own: what a child is said to have used at most begins with what its parent has.
            maker = multiprocessing.Process(target=write_layer, args=(context / files[-1], number, given.mib / 4))
            maker.start()
            maker.join()
            if maker.exitcode:
                sys.exit("the image could not be made")
        build(context, "scratch", f"{name}:base", files)
        for file in files:
            (context / file).unlink()
        home = work / "home"
        home.mkdir()
        environment = {**os.environ, "HOME": str(home), "DOCKER_CONFIG": str(home), "LONGSHORE_CACHE_DIR": str(work / "cache")}
        clients = {
            "longshore": [str(binary), "push", f"docker-daemon:{name}:top", f"{ours.host}/bench/image:v1", "--output", "json"],
            "docker": ["docker", "push", "--quiet", f"{theirs.host}/bench/image:v1"],
        }
        results = {client: [] for client in clients}
        tags = [f"{name}:base", f"{name}:top", f"{theirs.host}/bench/image:v1"]
        try:
            for round in range(given.n + 1):
                (context / "top.tar").write_bytes(layer(1000 + round, 1))
                build(context, f"{name}:base", f"{name}:top", ["top.tar"])
                subprocess.run(["docker", "tag", f"{name}:top", tags[2]], check=True)
                for client, command in clients.items():
                    results[client].append(measure(command, environment))
                row = json.loads(results["longshore"][-1][3])["images"][0]
                sent = (row["blobs"]["sent"], row["blobs"]["present"])
                print(f"round {round}: longshore sent {sent[0]} blobs ({row['bytes_sent'] >> 10} KiB), {sent[1]} were there", flush=True)
                if round and sent != (2, 4):
                    sys.exit("the top layer and the configuration are all that should be sent")
        finally:
            subprocess.run(["docker", "rmi", "--force", *tags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"\n{'client':12} {'first s':>8} {'again s':>8} {'x ours':>7} {'CPU s':>7} {'peak MiB':>9}")
    again = {client: statistics.median(run[0] for run in runs[1:]) for client, runs in results.items()}
    for client, runs in results.items():
        cpu = statistics.median(run[1] for run in runs[1:])
        peak = max(run[2] for run in runs)
        print(
            f"{client:12} {runs[0][0]:8.2f} {again[client]:8.2f} {again[client] / again['longshore']:7.2f} {cpu:7.2f} {peak:9.0f}"
        )


if __name__ == "__main__":
    main()
