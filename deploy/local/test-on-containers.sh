#!/bin/sh
# Runs pytest with its servers out of containers, of the images of make-images.sh: test-on-containers.sh tests/gateway
# Needs a Docker daemon (with-docker.sh). Exit status 69 where no base can be made, or no container runs: no test was run.
set -eu
cd "$(dirname "$0")/../.."
# Images are built in containers, too: so the base is tried first.
if ! sh deploy/local/make-images.sh base || ! docker run --rm cartstream-local/python true; then
  echo "NOT RUN: pytest $*"
  echo 'No base image can be made here, or the Docker daemon runs no container; the lines above say why.'
  exit 69
fi
sh deploy/local/make-images.sh servers
set -a
. deploy/local/images.env
set +a
# Ryuk removes what a killed run leaves behind; it is an image of a registry.
export CARTSTREAM_TEST_DOCKER=1 TESTCONTAINERS_RYUK_DISABLED=true
.venv/bin/pytest "$@"
