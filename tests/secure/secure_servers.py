"""A Redis and a Postgres that speak TLS only, to clients with a certificate.

They are Debian's: those of PyPI, which other tests use, are built without TLS.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT
from typing import Final
from urllib.parse import quote

import psycopg
import pytest

from devstack.files import SERVERS
from devstack.free_ports import free_ports
from devstack.settings import HOST
from tests.secure.certificates import Authority
from tests.support.pgbouncer import UNPRIVILEGED
from tests.support.processes import Process

_PROGRAMS: Final = Path("/usr/lib/postgresql")
"""Where Debian has each version of Postgres."""
_USER: Final = "cartstream"
_PASSWORD: Final = "cartstream-secret"
_HBA: Final = f"hostssl all {_USER} 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n"


class _Server(Process):
    """A server with a certificate of the authority on a port of its own."""

    port: int

    def is_ready(self) -> bool:
        """Whether it listens. AssertionError with its log if it has ended."""
        assert not self.has_ended(), self.tail
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """It runs while the context lasts."""
        self.launch()
        try:
            self.wait_ready()
            yield
        finally:
            self.send(SIGINT)
            try:
                self.wait()
            finally:
                self.kill()


class SecureRedis(_Server):
    """Redis; who comes without TLS, or without a certificate of the authority, is turned away."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        (self.port,) = free_ports(1)
        folder.mkdir(parents=True, exist_ok=True)
        cert, key = authority.issue("redis")
        own_cert, own_key = authority.issue("redis-client")
        proven = f"rediss://{HOST}:{self.port}/0?ssl_ca_certs={quote(str(authority.file))}"
        self.url_in_the_clear = f"redis://{HOST}:{self.port}/0"
        self.url_without_certificate = proven
        self.url = f"{proven}&ssl_certfile={quote(str(own_cert))}&ssl_keyfile={quote(str(own_key))}"
        options = {
            "port": "0",
            "tls-port": str(self.port),
            "tls-cert-file": str(cert),
            "tls-key-file": str(key),
            "tls-ca-cert-file": str(authority.file),
            "tls-auth-clients": "yes",
            "dir": str(folder),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        super().__init__("redis", [str(SERVERS / "valkey.conf"), *words], {}, folder, program="redis-server")


class SecurePostgres(_Server):
    """Postgres; who comes without TLS, without a certificate or without a password is refused."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        """`folder` is one that can be given to another user: Postgres refuses to be root."""
        (self.port,) = free_ports(1)
        programs = max(_PROGRAMS.glob("*/bin"), key=lambda found: int(found.parent.name))
        data = folder / "data"
        cert, key = authority.issue("postgres")
        own_cert, own_key = authority.issue("postgres-client")
        # A client refuses a key that others can read.
        own_key.chmod(0o600)
        password = folder / "password"
        password.write_text(_PASSWORD)
        for file in (cert, key, authority.file):
            shutil.copy(file, folder)
        (folder / key.name).chmod(0o600)
        # Of a folder that its user may not enter the server complains.
        as_server: tuple[str, ...] = ("env", "--chdir", str(folder))
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, UNPRIVILEGED)
            as_server = (*as_server, "setpriv", "--reuid", UNPRIVILEGED, "--clear-groups")
        made = (*as_server, str(programs / "initdb"), *("-D", str(data)), *("-U", _USER))
        subprocess.run(
            [*made, "--pwfile", str(password), "--auth=reject", "--encoding=UTF8", "--locale=C.UTF-8"],
            check=True,
            capture_output=True,
        )
        (data / "pg_hba.conf").write_text(_HBA)
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "ssl": "on",
            "ssl_cert_file": str(folder / cert.name),
            "ssl_key_file": str(folder / key.name),
            "ssl_ca_file": str(folder / authority.file.name),
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [*as_server, str(programs / "postgres"), "-D", str(data), *words]
        super().__init__("postgres", command[1:], {}, folder, program=command[0])
        server = f"postgresql://{_USER}:{_PASSWORD}@{HOST}:{self.port}/postgres"
        proven = f"{server}?sslmode=verify-full&sslrootcert={quote(str(authority.file))}"
        self.url_in_the_clear = f"{server}?sslmode=disable"
        self.url_without_certificate = proven
        self.url = f"{proven}&sslcert={quote(str(own_cert))}&sslkey={quote(str(own_key))}"

    def is_ready(self) -> bool:
        """Whether it lets its clients in: it listens some moments sooner."""
        if not super().is_ready():
            return False
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True


def require_installed() -> None:
    """Return if both can be started; skip the test if not."""
    there = {
        "redis-server": shutil.which("redis-server"),
        "postgresql": any(_PROGRAMS.glob("*/bin/postgres")),
    }
    if missing := [package for package, found in there.items() if not found]:
        pytest.skip(f"NOT tested over TLS to Redis and Postgres: apt-get install {' '.join(missing)}")
