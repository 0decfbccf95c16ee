#!/bin/sh
# Makes .venv with the pinned dependencies. Says what is missing before it installs anything.
# Run by `make setup`, in the root of the checkout. PYTHON names the interpreter; without it the first good one.
set -eu

VENV=.venv
CACHE=${CARTSTREAM_CACHE_DIR:-${HOME:-/nonexistent}/.cache/cartstream}
# Exists while packages are being installed: what a killed installation left may be anything.
UNFINISHED=$VENV/.unfinished
missing=0

is_missing() {
  printf 'Missing: %s\n' "$1" >&2
  missing=1
}

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  if test -n "${PYTHON:-}"; then
    set -- "$PYTHON"
  else
    set -- python3 python3.14 python3.13 python3.12 python3.11
  fi
  for each in "$@"; do
    if is_new_enough "$each"; then
      echo "$each"
      return
    fi
  done
}

has_kafka() {
  for jar in "$CACHE"/kafka-*/kafka_*.jar; do
    test -e "$jar" && return
  done
  return 1
}

python=$(find_python)
if test -z "$python"; then
  is_missing "Python 3.11 or newer. Install it (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python), or name it: make setup PYTHON=/path/to/python3.12"
elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
  is_missing "the modules venv and ensurepip of $python. Install them (Debian and Ubuntu: apt install python3-venv)"
fi
if ! has_kafka; then
  if ! command -v mvn >/dev/null 2>&1; then
    is_missing "Maven, which brings Kafka: there is no mvn on the PATH. Install it (Debian and Ubuntu: apt install maven; macOS: brew install maven)"
  elif ! mvn --version >/dev/null 2>&1; then
    is_missing "Java for Maven: mvn --version fails. Install it (Debian and Ubuntu: apt install default-jre-headless; macOS: brew install openjdk), or correct JAVA_HOME"
  fi
fi
if test "$missing" = 1; then
  echo "Nothing was installed. Run make again when this is mended." >&2
  exit 1
fi

if test -e "$VENV" || test -L "$VENV"; then
  if test -e "$UNFINISHED"; then
    reason='its set-up was interrupted'
  elif ! is_new_enough "$VENV/bin/python" || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    reason='it has no working Python 3.11 with pip'
  else
    reason=
  fi
  if test -n "$reason"; then
    echo "making $VENV again: $reason ..."
    rm -rf "$VENV"
  fi
fi
if ! test -e "$VENV"; then
  echo "making $VENV with $python ..."
  "$python" -m venv "$VENV"
fi
touch "$UNFINISHED"
echo 'installing the pinned dependencies, servers included (a few minutes the first time) ...'
pip="$VENV/bin/python -m pip --disable-pip-version-check --quiet"
$pip install --require-hashes -r requirements.lock
$pip install --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
touch "$VENV/.installed"
rm "$UNFINISHED"
