#!/bin/sh
# Makes a database at the first start, as the image `postgres:18` does, and serves it.
set -eu
data=/var/lib/postgresql/18/docker
if ! test -s "$data/PG_VERSION"; then
  rm -rf "$data.new"
  mkdir -p "$(dirname "$data")"
  password=$(mktemp)
  if test -n "${POSTGRES_PASSWORD_FILE:-}"; then cat "$POSTGRES_PASSWORD_FILE"; else echo "$POSTGRES_PASSWORD"; fi >"$password"
  initdb -D "$data.new" -U "$POSTGRES_USER" --pwfile="$password" --auth=trust --encoding=UTF8 --locale=C.UTF-8
  rm "$password"
  # From within the container without a password, as in that image.
  echo 'host all all all scram-sha-256' >>"$data.new/pg_hba.conf"
  if test "${POSTGRES_DB:-postgres}" != postgres; then
    echo "CREATE DATABASE \"$POSTGRES_DB\";" | postgres --single -D "$data.new" postgres
  fi
  mv "$data.new" "$data"
fi
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp
