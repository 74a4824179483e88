#!/usr/bin/env python3
"""Pushes the same image with every client that is installed, in turn, each time to an empty registry, and compares.

usage: benches/push.py [--binary PATH] [-n ROUNDS] [--layers N] [--mib M] [--directory DIR] [--only NAME…] [--check]

It needs docker-registry (Debian: apt-get install docker-registry) and this program built with `cargo build --profile
dist`; skopeo, crane and docker are compared where they are in PATH. The image is an OCI layout of N gzip layers of M MiB
of bytes that do not compress, the same in every run. Every run has a registry of its own on a port of its own, so that
nobody remembers anything; the digest in the registry is compared behind each. Wall, CPU and peak memory are those of
the whole process of the client. --check fails where the ratios in docs/benchmarks.md do not hold.
"""

import argparse
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ROOT = pathlib.Path(__file__).resolve().parent.parent


def make_layout(out, layers, mib):
    """Writes the image. The same numbers make the same image."""
    blobs = out / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    descriptors, diff_ids = [], []
    for number in range(layers):
        source, left, data = random.Random(number), int(mib * (1 << 20)), bytearray()
        while left:
            data += source.randbytes(min(left, 1 << 26))
            left = int(mib * (1 << 20)) - len(data)
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            entry = tarfile.TarInfo(f"data/{number}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        raw = raw.getvalue()
        diff_ids.append("sha256:" + hashlib.sha256(raw).hexdigest())
        # Stored: bytes that do not compress need not be tried.
        layer = gzip.compress(raw, 0, mtime=0)
        descriptors.append(put(layer, "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/function"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    config = put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors}
    top = put(json.dumps(manifest).encode(), MANIFEST)
    top["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (out / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (out / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]}))


class Registry:
    """docker-registry, empty, on a port of its own."""

    def __init__(self, directory):
        self.directory = pathlib.Path(tempfile.mkdtemp(dir=directory))
        config = self.directory / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: info}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.directory / 'data'}}}}}\nhttp: {{addr: 127.0.0.1:0}}\n"
        )
        log = subprocess.PIPE
        self.process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=log)
        while True:
            line = self.process.stderr.readline().decode()
            if not line:
                sys.exit("docker-registry ended before it listened")
            found = re.search(r"listening on ([0-9.:]+)", line)
            if found:
                self.host = found.group(1)
                break
        # Its log would fill the pipe.
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.drain.wait()
        shutil.rmtree(self.directory)

    def digest(self, repository):
        request = urllib.request.Request(f"http://{self.host}/v2/{repository}/manifests/v1")
        # Docker's daemon writes a manifest of its own, in its own format.
        request.add_header("Accept", f"{MANIFEST}, {DOCKER_MANIFEST}")
        with urllib.request.urlopen(request) as answer:
            return "sha256:" + hashlib.sha256(answer.read()).hexdigest()


def measure(command, environment):
    """Runs it and answers with wall seconds, CPU seconds, peak MiB, and what it wrote."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = status
        out.seek(0)
        err.seek(0)
        if status:
            sys.exit(f"{command[0]}: status {status}: {err.read()[-2000:].decode(errors='replace')}")
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read()


def find_binary():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    found = [path for path in target.glob("**/longshore") if path.parent.name == "dist" and path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def clients(binary, layout):
    """Each client's command by its name; one that needs to be made ready says how."""
    yield "longshore", lambda host: [str(binary), "push", f"oci:{layout}", f"{host}/bench/image:v1", "--output", "json"]
    if shutil.which("crane"):
        yield "crane", lambda host: ["crane", "push", "--insecure", str(layout), f"{host}/bench/image:v1"]
    if shutil.which("skopeo"):
        yield "skopeo", lambda host: [
            "skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:v1", f"docker://{host}/bench/image:v1",
        ]  # fmt: skip
    if shutil.which("docker") and subprocess.run(["docker", "version"], capture_output=True).returncode == 0:
        yield "docker", lambda host: ["docker", "push", "--quiet", f"{host}/bench/image:v1"]


def ready(name, layout, host):
    """What a client needs before it is timed: docker pushes only what its daemon has."""
    if name == "docker":
        # As a file: skopeo finds no daemon by DOCKER_HOST or a context, and docker's own client does.
        saved = layout.parent / "docker.tar"
        to = f"docker-archive:{saved}:{host}/bench/image:v1"
        subprocess.run(["skopeo", "copy", "--quiet", f"oci:{layout}:v1", to], check=True)
        subprocess.run(["docker", "load", "--quiet", "--input", saved], check=True, stdout=subprocess.DEVNULL)
        saved.unlink()


def table(title, results):
    print(f"\n{title}")
    print(f"{'client':12} {'wall s':>8} {'min':>7} {'max':>7} {'x ours':>7} {'CPU s':>7} {'x ours':>7} {'peak MiB':>9}")
    wall_of = lambda name: statistics.median(run[0] for run in results[name])
    cpu_of = lambda name: statistics.median(run[1] for run in results[name])
    for name, runs in results.items():
        walls = [run[0] for run in runs]
        print(
            f"{name:12} {wall_of(name):8.3f} {min(walls):7.3f} {max(walls):7.3f} "
            f"{wall_of(name) / wall_of('longshore'):7.2f} {cpu_of(name):7.2f} "
            f"{cpu_of(name) / max(cpu_of('longshore'), 0.001):7.2f} {max(run[2] for run in runs):9.0f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=None)
    parser.add_argument("-n", type=int, default=7, metavar="ROUNDS")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--mib", type=float, default=64)
    parser.add_argument("--directory", default=None, help="where image and registries are; a tmpfs leaves the disk out")
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    binary = given.binary or find_binary() or sys.exit("no longshore: build one with `cargo build --profile dist`")
    if not shutil.which("docker-registry"):
        sys.exit("no docker-registry in PATH")

    with tempfile.TemporaryDirectory(dir=given.directory) as work:
        layout = pathlib.Path(work) / "layout"
        # By a process of its own: what a child is said to have used at most begins with what its parent has.
        maker = multiprocessing.Process(target=make_layout, args=(layout, given.layers, given.mib))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the image could not be made")
        digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
        # Nobody's logins are used and nothing of theirs is touched.
        home = pathlib.Path(work) / "home"
        home.mkdir()
        environment = {**os.environ, "HOME": str(home), "DOCKER_CONFIG": str(home)}
        chosen = {
            name: command
            for name, command in clients(binary, layout)
            if name == "longshore" or given.only is None or name in given.only
        }
        pushed = {name: [] for name in chosen}
        again = {name: [] for name in chosen}
        requests = set()
        # The first round is not counted: it warms what can be warmed.
        for round in range(-1, given.n):
            for name, command in chosen.items():
                with Registry(work) as registry:
                    ready(name, layout, registry.host)
                    first = measure(command(registry.host), environment)
                    found = registry.digest("bench/image")
                    if name != "docker" and found != digest:
                        sys.exit(f"{name}: {found} in the registry where {digest} was pushed")
                    second = measure(command(registry.host), environment)
                    if name == "longshore":
                        images = json.loads(second[3])["images"]
                        requests.add(images[0]["calls"]["registry"])
                    if round >= 0:
                        pushed[name].append(first[:3])
                        again[name].append(second[:3])

    size = given.layers * given.mib
    table(f"{given.layers} layers of {given.mib:g} MiB ({size:g} MiB) to an empty registry, {given.n} rounds", pushed)
    table(f"the same again: everything is there ({max(requests)} requests of ours at most)", again)
    if given.check:
        check(pushed, again, requests)


def check(pushed, again, requests):
    """The ratios that are promised, each where there is somebody to compare with."""
    median = lambda runs, which: statistics.median(run[which] for run in runs)
    wrong = []

    def at_most(what, found, limit):
        print(f"{'ok   ' if found <= limit else 'WRONG'} {what}: {found:.2f}, at most {limit}")
        if found > limit:
            wrong.append(what)

    print()
    ours = pushed["longshore"]
    at_most("peak memory in MiB", max(run[2] for run in ours), 32)
    at_most("requests of a second push", max(requests), 2)
    if "crane" in pushed:
        at_most("wall to crane's", median(ours, 0) / median(pushed["crane"], 0), 1.25)
        at_most("wall of a second push to crane's", median(again["longshore"], 0) / median(again["crane"], 0), 1.0)
    if "skopeo" in pushed:
        at_most("wall to skopeo's", median(ours, 0) / median(pushed["skopeo"], 0), 0.65)
        at_most("CPU to skopeo's", median(ours, 1) / median(pushed["skopeo"], 1), 0.5)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
