#!/bin/sh
# Runs a command with a Docker daemon: the one that answers, or one that it starts, as root, and stops again.
# DOCKERD_OPTIONS are for the latter. Exit status 69 where neither is: nothing was run.
set -eu
cd "$(dirname "$0")/../.."
not_run() { # why
  echo "NOT RUN: $command"
  echo "$1"
  exit 69
}
command=$*
if docker info >/dev/null 2>&1; then exec "$@"; fi
if test "$(id -u)" != 0 || ! command -v dockerd >/dev/null; then
  not_run 'No Docker daemon answers, and none can be started: that needs root and dockerd (Debian: docker.io).'
fi

mkdir -p build
# shellcheck disable=SC2086  several options
dockerd ${DOCKERD_OPTIONS:-} >build/dockerd.log 2>&1 &
daemon=$!
# It may have ended by itself, and is no reason for another exit status.
trap 'kill $daemon 2>/dev/null || true; wait $daemon || true' EXIT
tries=120
until docker info >/dev/null 2>&1; do
  tries=$((tries - 1))
  if ! kill -0 $daemon 2>/dev/null || test $tries = 0; then
    not_run "The Docker daemon does not start here; the end of build/dockerd.log:
$(tail -5 build/dockerd.log)"
  fi
  sleep 0.5
done
"$@"
