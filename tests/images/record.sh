#!/usr/bin/env bash
# Makes the images under recorded/ with Docker 26, buildx 0.13, skopeo 1.18 and oras 1.2 of Debian 13, in a folder of its own.
#
# usage: tests/images/record.sh FOLDER     as root on Debian; FOLDER gets a Debian 13 (400 MB) and is kept
#
# It replaces recorded/ with what it makes. Digests differ from one recording to the next, because provenance holds times
# and build ids: what tests expect is read out of the recordings and is not written down beside them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(realpath -m "$1")

if [ ! -e "$root/ready" ]; then
    debootstrap --variant=minbase --include=ca-certificates trixie "$root" http://deb.debian.org/debian
    cp /etc/resolv.conf "$root/etc/"
    cp /etc/apt/apt.conf.d/* "$root/etc/apt/apt.conf.d/"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    chroot "$root" sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends \
        docker.io docker-cli docker-buildx iptables skopeo oras'
    touch "$root/ready"
fi
# The mounts end with this process: it goes on in a mount namespace of its own.
if [ "${2:-}" != inside ]; then exec unshare --mount -- "$0" "$root" inside; fi
mount --bind "$root" "$root"
mount --bind /proc "$root/proc"
mount --bind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"

rm -rf "$root/context" "$root/out" "$root/layout" "$root/containerd" "$root/classic"
mkdir "$root/out"
cp -r "$here/context" "$root/context"
find "$root/context" -exec touch -d 2026-01-01T00:00:00Z {} +

daemons=()
trap 'kill "${daemons[@]}" 2>/dev/null; wait' EXIT
start() { # start NAME SNAPSHOTTER: a daemon with that image store, at unix:///NAME.sock
    printf '{"features": {"containerd-snapshotter": %s}, "bridge": "none", "iptables": false, "ip-masq": false}' "$2" >"$root/$1.json"
    chroot "$root" dockerd --config-file "/$1.json" --data-root "/$1/root" --exec-root "/$1/exec" \
        --pidfile "/$1/pid" -H "unix:///$1.sock" >"$root/$1.log" 2>&1 &
    daemons+=($!)
    for _ in $(seq 100); do
        chroot "$root" docker -H "unix:///$1.sock" info >/dev/null 2>&1 && return
        sleep 0.2
    done
    tail "$root/$1.log" >&2
    exit 1
}
start containerd true
start classic false

chroot "$root" sh -eux <<'INSIDE'
cd /context
export DOCKER_CONFIG=/tmp/docker SOURCE_DATE_EPOCH=1767225600
export DOCKER_HOST=unix:///containerd.sock
build() { docker buildx build --quiet "$@" .; }
both="--platform linux/amd64,linux/arm64"

# What buildx writes by itself.
build --provenance=mode=min -o type=oci,dest=/out/buildx-provenance-min.oci.tar
build --provenance=mode=max -o type=oci,dest=/out/buildx-provenance-max.oci.tar
build $both --provenance=false -o type=oci,dest=/out/buildx-two-platforms.oci.tar
build $both --provenance=mode=max -o type=oci,dest=/out/buildx-two-platforms-provenance-max.oci.tar
build $both --provenance=false -o type=oci,oci-mediatypes=false,dest=/out/buildx-docker-list.oci.tar
build --provenance=false -o type=oci,compression=zstd,force-compression=true,dest=/out/buildx-zstd.oci.tar
build --provenance=false -o type=oci,compression=uncompressed,force-compression=true,dest=/out/buildx-plain.oci.tar
build --provenance=false -o type=docker,name=greeting:1,dest=/out/buildx.docker.tar

# docker save out of the containerd store: a layout and a docker archive in one file.
build --provenance=false -t greeting:1
build --provenance=mode=max -t greeting:proven
docker save -o /out/docker26-containerd.docker.tar greeting:1
docker save -o /out/docker26-containerd-provenance.docker.tar greeting:proven

# docker save out of the classic store: the same form, with plain layers.
export DOCKER_HOST=unix:///classic.sock
build --provenance=false -t greeting:1 -t shop/greeting:2
build --provenance=false --build-arg TARGETARCH=arm64 -t other:1
docker save -o /out/docker26-classic.docker.tar greeting:1
docker save -o /out/docker26-classic-several.docker.tar greeting:1 shop/greeting:2 other:1

# Layouts that other tools make of them.
skopeo copy -q --dest-compress-format zstd:chunked --dest-oci-accept-uncompressed-layers=false \
    oci-archive:/out/buildx-plain.oci.tar oci-archive:/out/skopeo-zstd-chunked.oci.tar
skopeo copy -q --all oci-archive:/out/buildx-two-platforms-provenance-max.oci.tar oci:/layout:app
printf '{"predicate": "nothing is wrong with it"}' >statement.json
oras attach --no-tty --oci-layout --artifact-type application/vnd.in-toto+json /layout:app statement.json:application/vnd.in-toto+json
tar -C /layout -cf /out/oras-subject.oci.tar .
INSIDE
rm -rf "$here/recorded"
mkdir "$here/recorded"
cp "$root"/out/*.tar "$here/recorded/"
chmod 644 "$here/recorded/"*
ls -l "$here/recorded"
