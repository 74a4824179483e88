#!/usr/bin/env bash
# Fetches the clients that tests/functions.rs tries the embedded cloud with: the AWS CLI, and AWS's runtime interface
# emulator, which lies in the wheel of aws-sam-cli. Both come from PyPI.
#
# usage: tests/functions/tools.sh FOLDER      makes FOLDER/bin/aws and FOLDER/bin/aws-lambda-rie; nothing where they are there
set -euo pipefail
out=$(realpath -m "$1")
if [ ! -x "$out/bin/aws" ]; then
    python3 -m venv "$out"
    "$out/bin/pip" install --quiet awscli==1.46.2
fi
if [ ! -x "$out/bin/aws-lambda-rie" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$out/bin/pip" download --quiet --no-deps --dest "$work" aws-sam-cli==1.170.0
    python3 - "$work" "$out/bin/aws-lambda-rie" <<'PYTHON'
import glob, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
name = next(name for name in wheel.namelist() if name.endswith("aws-lambda-rie-x86_64"))
open(sys.argv[2], "wb").write(wheel.read(name))
PYTHON
    chmod +x "$out/bin/aws-lambda-rie"
fi
"$out/bin/aws" --version
