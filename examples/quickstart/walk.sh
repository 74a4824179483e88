#!/bin/sh
# Walks through Longshore's whole job on this machine, in under a minute: deploy v1, call it, deploy v2 as a canary,
# watch the share, roll back, look at status and history, clean up.
#
# usage: walk.sh            from any directory, with longshore and rustc on PATH
#
# It works on a copy of this folder in a temporary directory, so that it leaves nothing behind.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cd "$work"
cp "$here/deploy.yaml" "$here/build.sh" "$here/function.rs" "$here/page.html" .
unset LONGSHORE_LOCAL_DIR # the walk has a cloud of its own
tidy() {
    status=$?
    longshore local down >/dev/null 2>&1 || true
    rm -rf "$work"
    exit $status
}
trap tidy EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m# %s\033[0m\n' "$1"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}
# How many of $1 requests each version answers, one line a version.
count() {
    i=0
    while [ $i -lt "$1" ]; do
        longshore invoke hello --payload '{}'
        i=$((i + 1))
    done | grep -o '"hello":"[^"]*"' | sort | uniq -c
}

say "deploy v1: build it, push its image, publish a version, put it behind the alias"
run longshore deploy --message "the first one"

say "call it through the alias"
run longshore invoke hello --path /health
run longshore invoke hello --payload '{"ping": true}'

say "deploy v2 as a canary: a quarter of the traffic for ten seconds, then all of it"
printf '$ longshore deploy --env canary --set vars.version=v2 &\n'
longshore deploy --env canary --set vars.version=v2 --message "a canary" &
canary=$!
until longshore status | grep -q '25%'; do
    kill -0 $canary 2>/dev/null || { wait $canary; exit 1; }
done

say "watch the share: who answers 40 requests?"
run longshore status
count 40
wait $canary
say "v2 has arrived: who answers now?"
count 10

say "v2 is bad! what was live before is back at once"
run longshore rollback --message "v2 was bad"
count 10

say "what is live, and how it came to be"
run longshore status
run longshore history

say "clean up: end the local cloud and every function it runs"
run longshore local down
