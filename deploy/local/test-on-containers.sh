#!/bin/sh
# Runs pytest with its servers out of containers, of the images of make-images.sh: test-on-containers.sh tests/gateway
# Needs a Docker daemon (with-docker.sh). Exit status 69 where it cannot run a container: no test was run.
set -eu
cd "$(dirname "$0")/../.."
sh deploy/local/make-images.sh servers
if ! docker run --rm cartstream-local/python true; then
  echo "NOT RUN: pytest $*"
  echo 'The Docker daemon cannot run a container here.'
  exit 69
fi
set -a
. deploy/local/images.env
set +a
# Ryuk removes what a killed run leaves behind; it is an image of a registry.
export CARTSTREAM_TEST_DOCKER=1 TESTCONTAINERS_RYUK_DISABLED=true
.venv/bin/pytest "$@"
