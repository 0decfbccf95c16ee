"""Connections that prove whose server it is, and who comes: libpq's own, through a PgBouncer with TLS."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg
import pytest

from sinks.postgres.batch import newest
from sinks.postgres.table import CartsTable
from store.postgres.errors import MigrationFailed
from store.postgres.migrate import migrate
from store.postgres.session import Address, connect
from tests.secure.certificates import Authority
from tests.sinks.cart_records import grow, new_cart_id
from tests.sinks.test_batch import row
from tests.support.pgbouncer import pgbouncer, private_folder

TRUSTED: Final = "trusted"
Secured = Callable[..., str]


@pytest.fixture(params=["require", "verify-full"])
def proofs(request: pytest.FixtureRequest) -> str:
    """What the server wants of clients: TLS, or a certificate, too."""
    return str(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """For the server's files; clients read them, too."""
    with private_folder() as found:
        yield found


@pytest.fixture
def secured(database: str, folder: Path, proofs: str) -> Iterator[Secured]:
    """The URL of a server with TLS, by what the client says beside `verify-full`."""
    authority = Authority(folder)
    cert, key = authority.issue("server")
    settings = {
        "client_tls_sslmode": proofs,
        "client_tls_cert_file": str(cert),
        "client_tls_key_file": str(key),
        "client_tls_ca_file": str(authority.file),
    }
    own_cert, own_key = authority.issue("client")
    with pgbouncer(database, folder, settings) as server:
        own_key.chmod(0o600)
        given = {"sslrootcert": str(authority.file)}
        if proofs == "verify-full":
            given |= {"sslcert": str(own_cert), "sslkey": str(own_key)}

        def url(**parameters: str) -> str:
            told = {"sslmode": "verify-full", **given, **parameters}
            return f"{server.url}?" + "&".join(
                f"{name}={quote(value)}" for name, value in told.items() if value
            )

        yield url


async def test_a_server_that_proves_who_it_is_is_used(secured: Secured) -> None:
    cart_id = new_cart_id()
    address = Address(secured())
    async with CartsTable(address) as table:
        assert await table.write(newest([row(cart_id, grow(cart_id, 1))])) == 1
    async with await connect(address, name="test") as connection:
        assert connection.pgconn.ssl_in_use


async def test_a_server_that_proves_nothing_is_refused_with_the_cause(secured: Secured, folder: Path) -> None:
    stranger = Authority(folder / "other", "somebody else")
    unknown = Address(secured(sslrootcert=str(stranger.file)))
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        await connect(unknown, name="test")
    with pytest.raises(MigrationFailed, match="certificate verify failed"):
        migrate(unknown)
    elsewhere = Address(secured(hostaddr="127.0.0.1").replace("@127.0.0.1", "@db.example.com"))
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        await connect(elsewhere, name="test")


@pytest.mark.parametrize("proofs", ["verify-full"], indirect=True)
async def test_a_client_without_a_certificate_is_refused_where_one_is_needed(secured: Secured) -> None:
    with pytest.raises(psycopg.OperationalError):
        await connect(Address(secured(sslcert="", sslkey="")), name="test")
