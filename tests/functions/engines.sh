#!/usr/bin/env bash
# Runs a command beside a docker daemon and a podman service of its own, and ends both afterwards.
#
# usage: tests/functions/engines.sh COMMAND…
#        as root; docker.io and podman installed. COMMAND gets DOCKER_HOST, CONTAINER_HOST and LONGSHORE_ENGINE.
set -euo pipefail
folder=$(mktemp -d)
docker=
podman=
finish() {
    status=$?
    for service in $docker $podman; do
        kill "$service" 2>/dev/null || true
        wait "$service" 2>/dev/null || true
    done
    umount -R "$folder"/docker/root "$folder"/podman/root/overlay 2>/dev/null || true
    rm -rf "$folder" 2>/dev/null || true
    exit $status
}
trap finish EXIT

mkdir -p "$folder/docker" "$folder/podman"
dockerd --data-root "$folder/docker/root" --exec-root "$folder/docker/exec" --pidfile "$folder/docker/pid" \
    -H "unix://$folder/docker.sock" >"$folder/docker/log" 2>&1 &
docker=$!
# runc and no systemd: what works as root in a container too.
cat >"$folder/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
cgroups = "enabled"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
CONF
CONTAINERS_CONF=$folder/containers.conf podman --root "$folder/podman/root" --runroot "$folder/podman/run" \
    system service --time=0 "unix://$folder/podman.sock" >"$folder/podman/log" 2>&1 &
podman=$!

for socket in docker podman; do
    for _ in $(seq 300); do
        curl -sf --unix-socket "$folder/$socket.sock" http://engine/_ping >/dev/null && continue 2
        kill -0 "${!socket}" 2>/dev/null || break
        sleep 0.1
    done
    echo "$socket does not answer; the end of its log:" >&2
    tail -5 "$folder/$socket/log" >&2
    exit 1
done
export DOCKER_HOST=unix://$folder/docker.sock CONTAINER_HOST=unix://$folder/podman.sock LONGSHORE_ENGINE=docker,podman
"$@"
