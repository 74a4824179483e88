#!/bin/sh
# Builds the quickstart's function as one static program: build/function. Called by the manifest's `build:` hook.
#
# usage: build.sh VERSION
#
# It calls rustc itself, so no cargo setting (CARGO_TARGET_DIR, RUSTFLAGS, a config file) can move the result.
set -eu
cd "$(dirname "$0")"
mkdir -p build

# musl links statically by itself; without that target, glibc can be linked statically too.
host=$(rustc -vV | sed -n 's/^host: //p')
musl="$(echo "$host" | cut -d- -f1)-unknown-linux-musl"
if [ -d "$(rustc --print target-libdir --target "$musl" 2>/dev/null)" ]; then target=$musl; else target=$host; fi

QUICKSTART_VERSION=$1 rustc --edition 2024 --crate-name function -C opt-level=s -C panic=abort -C strip=symbols \
    -C target-feature=+crt-static --target "$target" --remap-path-prefix "$PWD=." -o build/function function.rs
