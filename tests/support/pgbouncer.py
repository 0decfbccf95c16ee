"""A PgBouncer of the tests' own, in transaction mode, before a Postgres."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psycopg
import pytest

from devstack.free_ports import free_ports
from tests.support.processes import Process

UNPRIVILEGED: Final = "nobody"
"""As whom it runs where the tests are root's: it refuses to be root."""
PLAIN: Final[Mapping[str, str]] = MappingProxyType({})


class PgBouncer(Process):
    """Every user it is asked for is the user of the URL; two connections to Postgres at most."""

    def __init__(self, postgres_url: str, folder: Path, settings: Mapping[str, str]) -> None:
        with psycopg.connect(postgres_url) as connection:
            info = connection.info
            user, name = info.user, info.dbname
            server = f"host={info.host} port={info.port} dbname={name} user={user} password={info.password}"
        (self.port,) = free_ports(1)
        self.url = f"postgresql://{user}@127.0.0.1:{self.port}/{name}"
        told = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": "2",
            "server_round_robin": "1",
            **settings,
        }
        lines = [f"{name} = {value}" for name, value in told.items()]
        configuration = folder / "pgbouncer.ini"
        configuration.touch(mode=0o600)
        databases = f"[databases]\n{name} = {server}\n[pgbouncer]\n"
        configuration.write_text(databases + "\n".join(lines) + "\n")
        arguments = [str(configuration)]
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, UNPRIVILEGED)
            arguments = ["-u", UNPRIVILEGED, *arguments]
        super().__init__("pgbouncer", arguments, {}, folder, program="pgbouncer")

    def is_ready(self) -> bool:
        """Whether it listens. AssertionError with its log if it has ended."""
        assert not self.has_ended(), self.tail
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that can be given to another user: those of pytest lie in root's own."""
    folder = Path(tempfile.mkdtemp(prefix="cartstream-tests-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def pgbouncer(postgres_url: str, folder: Path, settings: Mapping[str, str] = PLAIN) -> Iterator[PgBouncer]:
    """One before that Postgres, while the context lasts. Skips the test where it is not installed."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("NOT tested behind PgBouncer: pgbouncer is missing (apt-get install pgbouncer)")
    found = PgBouncer(postgres_url, folder, settings)
    found.launch()
    try:
        found.wait_ready()
        yield found
    finally:
        found.kill()
