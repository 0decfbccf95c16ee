#!/bin/sh
# Says which programs a suite of tests lacks, before anything is installed: sh devstack/needs.sh alerts
# Run by `make test-alerts` and others: without these programs their tests would be skipped.
set -eu

missing=0

# $1: a name for it; $2: the package of Debian; the rest: programs, or files, of which one is enough.
needs() {
  name=$1 package=$2
  shift 2
  for each in "$@"; do
    if command -v "$each" >/dev/null 2>&1; then
      return
    fi
  done
  printf 'Missing: %s. Install it (Debian and Ubuntu: apt install %s)\n' "$name" "$package" >&2
  missing=1
}

case $1 in
  alerts)
    needs prometheus prometheus prometheus
    needs promtool prometheus promtool
    needs curl curl curl
    needs psql postgresql-client psql
    needs redis-cli redis-tools redis-cli
    ;;
  cluster)
    needs redis-server redis-server redis-server
    ;;
  ops)
    needs Chromium chromium chromium google-chrome
    ;;
  secure)
    needs redis-server redis-server redis-server
    needs "Debian's Postgres" postgresql /usr/lib/postgresql/*/bin/postgres
    ;;
  *)
    echo "no suite is called $1" >&2
    exit 2
    ;;
esac
if test "$missing" = 1; then
  echo "Nothing was installed or tested. Run make again when this is mended." >&2
  exit 1
fi
