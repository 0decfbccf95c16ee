#!/bin/sh
# Makes the passwords and tokens that docker-compose.yml takes from files, in deploy/compose/secrets/. Keeps those that are there.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
cd secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# The folder is the owner's alone. The files are mounted into containers that run as other users.
write() { printf '%s\n' "$2" > "$1" && chmod 0444 "$1"; }

if test ! -e postgres-password; then
  password=$(random)
  write postgres-url "postgresql://cartstream:$password@postgres:5432/cartstream"
  write postgres-password "$password"
fi
if test ! -e redis-conf; then
  password=$(random)
  write redis-url "redis://:$password@redis:6379/0"
  write redis-conf "requirepass $password"
fi
if test ! -e ops-token; then
  write ops-token "$(random)"
fi
