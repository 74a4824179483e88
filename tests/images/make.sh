#!/usr/bin/env bash
# Makes the images of the tools that Debian 12 packages: Docker 20, podman, buildah, umoci and skopeo, in a folder.
#
# usage: tests/images/make.sh FOLDER [--install]
#        as root; --install fetches what is missing with apt-get, without it a missing tool is an error that names it
#
# FOLDER/made tells from what it was made; when that has not changed nothing is made again. The daemon and the stores that
# are needed for it lie in a temporary folder and are gone afterwards.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "$1")

declare -A package=([dockerd]=docker.io [/usr/bin/docker]=docker.io [podman]=podman [buildah]=buildah [umoci]=umoci
    [skopeo]=skopeo [runc]=runc)
missing=()
for program in "${!package[@]}"; do
    command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "${2:-}" != --install ]; then
        echo "missing: ${missing[*]} (apt-get install them, or run $0 FOLDER --install)" >&2
        exit 1
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# What the images depend on: this script, the context, the tools.
inputs=$({
    sha256sum "$here/make.sh"
    (cd "$here/context" && find . -type f -exec sha256sum {} + | sort)
    dockerd --version
    podman --version
    buildah --version
    umoci --version
    skopeo --version
} | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/made" 2>/dev/null)" = "$inputs" ]; then
    echo "images: $out is up to date"
    exit
fi

work=$(mktemp -d)
daemon=
finish() {
    status=$?
    # It ends by the signal that asked it to; what the script came to is what the script answers.
    if [ -n "$daemon" ]; then
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
    fi
    umount "$work"/docker/root "$work"/containers/root/overlay 2>/dev/null || true
    rm -rf "$work"
    exit $status
}
trap finish EXIT
rm -rf "$out"
mkdir -p "$out"
cp -r "$here/context" "$work/context"
find "$work/context" -exec touch -d 2026-01-01T00:00:00Z {} +

# Docker 20: the form before version 25, `<id>/layer.tar`, manifest.json, repositories, no index.json. A second image that
# shares layers, and one file with both.
mkdir -p "$work/docker"
dockerd --data-root "$work/docker/root" --exec-root "$work/docker/exec" --pidfile "$work/docker/pid" \
    --host "unix://$work/docker.sock" --bridge none --iptables=false --ip-masq=false >"$work/docker.log" 2>&1 &
daemon=$!
export DOCKER_HOST=unix://$work/docker.sock DOCKER_CONFIG=$work/docker-config DOCKER_BUILDKIT=0
ready() { /usr/bin/docker info >/dev/null 2>&1; }
for _ in $(seq 150); do
    if ready; then break; fi
    sleep 0.2
done
ready || { tail "$work/docker.log" >&2; exit 1; }
docker_build() { /usr/bin/docker build --quiet "$@" "$work/context" >/dev/null; }
docker_build --build-arg TARGETARCH=amd64 -t greeting:1 -t shop/greeting:2
docker_build --build-arg TARGETARCH=arm64 -t other:1
/usr/bin/docker save -o "$out/docker20.docker.tar" greeting:1
/usr/bin/docker save -o "$out/docker20-several.docker.tar" greeting:1 shop/greeting:2 other:1
/usr/bin/docker save greeting:1 | gzip -n >"$out/docker20.docker.tar.gz"
/usr/bin/docker save -o "$out/docker20-by-id.docker.tar" "$(/usr/bin/docker image inspect -f '{{.Id}}' greeting:1)"

unset DOCKER_HOST DOCKER_CONFIG DOCKER_BUILDKIT

# podman and buildah, which share a store. podman's docker archives hold their layers twice: once as files, once as links
# to them.
cat >"$work/containers.conf" <<CONF
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
CONF
printf '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"
printf 'unqualified-search-registries = []\n' >"$work/registries.conf"
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_REGISTRIES_CONF=$work/registries.conf
store=(--root "$work/containers/root" --runroot "$work/containers/run" --storage-driver vfs)
built() { buildah "${store[@]}" bud --quiet --timestamp 1767225600 --isolation chroot "$@" "$work/context" >/dev/null; }
built --build-arg TARGETARCH=amd64 --layers -t localhost/greeting:1
built --build-arg TARGETARCH=amd64 --layers --format docker -t localhost/greeting:docker
built --build-arg TARGETARCH=arm64 --layers --platform linux/arm64 -t localhost/greeting:arm
podman() { command podman "${store[@]}" "$@"; }
podman save -q --format docker-archive -o "$out/podman.docker.tar" localhost/greeting:1
podman save -q -m -o "$out/podman-several.docker.tar" localhost/greeting:1 localhost/greeting:arm
podman save -q --format oci-archive -o "$out/podman.oci.tar" localhost/greeting:1
podman save -q --format oci-dir -o "$out/podman.oci" localhost/greeting:1
buildah "${store[@]}" push -q --signature-policy "$work/policy.json" localhost/greeting:1 "oci:$out/buildah.oci:1"
buildah "${store[@]}" push -q --signature-policy "$work/policy.json" localhost/greeting:docker \
    "docker-archive:$out/buildah.docker.tar:localhost/greeting:docker"
buildah "${store[@]}" manifest create localhost/both localhost/greeting:1 localhost/greeting:arm >/dev/null
buildah "${store[@]}" manifest push -q --all --signature-policy "$work/policy.json" localhost/both \
    "oci:$out/buildah-two-platforms.oci:both" >/dev/null

# umoci makes a layout of its own, with an image in which a file is gone again.
umoci init --layout "$out/umoci.oci"
umoci new --image "$out/umoci.oci:1"
umoci insert --image "$out/umoci.oci:1" "$work/context/greeting.txt" /greeting.txt
umoci insert --image "$out/umoci.oci:1" "$work/context/bin.amd64" /bin/function
umoci insert --image "$out/umoci.oci:1" --whiteout /greeting.txt
umoci config --image "$out/umoci.oci:1" --architecture amd64 --os linux --config.entrypoint /bin/function

# skopeo turns forms into forms.
copy() { skopeo --policy "$work/policy.json" copy --quiet "$@"; }
copy "oci:$out/buildah.oci:1" "oci-archive:$out/skopeo.oci.tar:1"
copy --dest-compress-format zstd --dest-oci-accept-uncompressed-layers=false \
    "docker-archive:$out/docker20.docker.tar" "oci:$out/skopeo-zstd.oci:1"
copy "docker-archive:$out/docker20.docker.tar" "oci:$out/skopeo-of-docker20.oci:1"
copy "oci:$out/umoci.oci:1" "docker-archive:$out/skopeo.docker.tar:umoci:1"

chmod -R a+rX "$out"
echo "$inputs" >"$out/made"
ls -l "$out"
