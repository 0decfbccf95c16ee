#!/bin/sh
# Builds oasdiff, which compares OpenAPI documents, as build/bin/oasdiff. Run by `make contract`.
# It is written in Go. Where there is no Go, or an old one, PyPI brings it into build/go; nothing else uses it.
set -eu
cd "$(dirname "$0")/../.."

go=$(command -v go || true)
if test -z "$go" || ! (cd devstack/oasdiff && GOTOOLCHAIN=local "$go" list -m >/dev/null 2>&1); then
  echo 'bringing Go, to build oasdiff with (once) ...'
  .venv/bin/python -m pip --disable-pip-version-check --quiet install \
    --require-hashes --upgrade --target build/go -r devstack/oasdiff/requirements.txt
  go=$PWD/build/go/go/bin/go
fi
echo 'building oasdiff (a minute or two, once) ...'
cd devstack/oasdiff
GOTOOLCHAIN=local GOBIN=$OLDPWD/build/bin "$go" install tool
