#!/usr/bin/env bash
# Makes the function images that tests/functions.rs runs, each as an OCI layout in a folder of its name.
#
# usage: tests/functions/make.sh FOLDER [--install]
#        as root; --install fetches what is missing with apt-get, without it a missing tool is an error that names it
#
# FOLDER/made tells from what they were made; when that has not changed nothing is made again. What is needed besides
# Debian's packages comes from crates.io and PyPI by their ordinary clients. Nothing is left behind but FOLDER.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "$1")

declare -A package=([buildah]=buildah [debootstrap]=debootstrap [python3]=python3-pip [runc]=runc)
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

inputs=$({
    cd "$here"
    find make.sh rust python-http python-lambda node-http -type f -not -path 'rust/target/*' -exec sha256sum {} + | sort
    rustc --version
    buildah --version
} | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/made" 2>/dev/null)" = "$inputs" ]; then
    echo "functions: $out is up to date"
    exit
fi

work=$(mktemp -d)
finish() {
    status=$?
    umount "$work"/containers/root/overlay 2>/dev/null || true
    rm -rf "$work"
    exit $status
}
trap finish EXIT
rm -rf "$out"
mkdir -p "$out" "$work/context"
store=(--root "$work/containers/root" --runroot "$work/containers/run" --storage-driver vfs)

# bud NAME [OPTION…]: builds the folder NAME of $work/context and writes it as a layout. Steps run in a chroot, so that no
# container runtime and no network of its own is needed; apt is set up as it is here.
bud() {
    local name=$1
    shift
    cp "$here/$name"/Containerfile "$work/context/$name/"
    buildah "${store[@]}" bud --quiet --layers --isolation chroot --format oci -v /etc/apt:/etc/apt:ro "$@" -t "localhost/$name" "$work/context/$name" >/dev/null
    buildah "${store[@]}" push --quiet "localhost/$name" "oci:$out/$name:latest"
    echo "functions: $name, $(du -sh "$out/$name" | cut -f1)"
}

# The Rust function, static: its image holds nothing else.
(
    cd "$here/rust"
    CARGO_TARGET_DIR="${LONGSHORE_FUNCTIONS_TARGET:-$out/.rust}" RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --quiet --release --locked --target x86_64-unknown-linux-gnu
)
mkdir "$work/context/rust"
cp "${LONGSHORE_FUNCTIONS_TARGET:-$out/.rust}/x86_64-unknown-linux-gnu/release/lambda-function" "$work/context/rust/bootstrap"
cp "$work/context/rust/bootstrap" "$out/bootstrap"
bud rust
rm -rf "$out/.rust"

# Debian with Python, from its packages.
mirror=$(cat /etc/apt/sources.list.d/* /etc/apt/sources.list 2>/dev/null | awk '$1 == "URIs:" || $1 == "deb" { print $2; exit }' || true)
debootstrap --variant=minbase --include=python3,ca-certificates bookworm "$work/debian" "${mirror:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 ||
    { tail -20 "$work/debootstrap.log" >&2; exit 1; }
rm -rf "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/* "$work"/debian/usr/share/{doc,man,locale}
mkdir "$work/context/debian"
tar -C "$work/debian" -cf "$work/context/debian/root.tar" .
printf 'FROM scratch\nADD root.tar /\n' >"$work/context/debian/Containerfile"
buildah "${store[@]}" bud --quiet --format oci -t localhost/debian "$work/context/debian" >/dev/null
rm -rf "$work/debian" "$work/context/debian"

mkdir "$work"/context/{python-http,python-lambda,node-http}
cp "$here/python-http/app.py" "$work/context/python-http/"
bud python-http

cp "$here/python-lambda/handler.py" "$work/context/python-lambda/"
python3 -m pip install --quiet --no-deps --root-user-action=ignore --target "$work/context/python-lambda/packages" --python-version 3.11 --implementation cp \
    --only-binary=:all: awslambdaric==4.2.2 snapshot_restore_py==1.0.0 simplejson==3.20.2
bud python-lambda

cp "$here/node-http/server.js" "$work/context/node-http/"
bud node-http

echo "$inputs" >"$out/made"
