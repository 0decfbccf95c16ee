#!/bin/sh
# Runs a command with a Docker daemon: the one that answers, or one that it starts, as root, and stops again.
# DOCKERD_OPTIONS are for the latter. Exit status 69 where neither is: nothing was run.
set -eu
cd "$(dirname "$0")/../.."
if docker info >/dev/null 2>&1; then exec "$@"; fi
if test "$(id -u)" != 0 || ! command -v dockerd >/dev/null; then
  echo "NOT RUN: $*"
  echo 'No Docker daemon answers, and none can be started: that needs root and dockerd (Debian: docker.io).'
  exit 69
fi

mkdir -p build
# shellcheck disable=SC2086  several options
dockerd ${DOCKERD_OPTIONS:-} >build/dockerd.log 2>&1 &
daemon=$!
trap 'kill $daemon; wait $daemon || true' EXIT
until docker info >/dev/null 2>&1; do
  if ! kill -0 $daemon 2>/dev/null; then
    echo "NOT RUN: $*"
    echo 'The Docker daemon does not start here; the end of build/dockerd.log:'
    tail -5 build/dockerd.log
    exit 69
  fi
  sleep 0.5
done
"$@"
