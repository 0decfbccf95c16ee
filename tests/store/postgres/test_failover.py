"""Several hosts, of which one takes writes: found at the start, and again after it has changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from devstack.free_ports import free_ports
from sinks.postgres.batch import newest
from sinks.postgres.table import CartsTable
from store.postgres.connection import RenewedConnection
from store.postgres.errors import MigrationFailed
from store.postgres.migrate import migrate
from store.postgres.pool import CheckedPool
from store.postgres.session import Address, ServerReadOnly, connect
from tests.sinks.cart_records import grow, new_cart_id
from tests.sinks.test_batch import row
from tests.support.databases import with_parameters

END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test-failover'"
)


@pytest.fixture
def hosts(database: str) -> Address:
    """Two hosts, the first of them down."""
    (down,) = free_ports(1)
    parts = urlsplit(database)
    user, _, host = parts.netloc.rpartition("@")
    url = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{down},{host}"))
    return Address(with_parameters(url, target_session_attrs="read-write", connect_timeout="2"))


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """New sessions of the database may not write, as on a standby."""
    with psycopg.connect(url, autocommit=True) as owner:
        name = sql.Identifier(owner.info.dbname)
        owner.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        yield
        owner.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


async def test_a_host_that_is_down_is_passed_over(hosts: Address, database: str) -> None:
    assert migrate(hosts) == []
    cart_id = new_cart_id()
    async with CartsTable(hosts) as table:
        assert await table.write(newest([row(cart_id, grow(cart_id, 1))])) == 1
    pool = CheckedPool(hosts, name="test-failover", min_size=3, max_size=3, wait_s=20, statement_ms=5000)
    async with pool:
        await pool.wait()
        with psycopg.connect(database, autocommit=True) as admin:
            assert len(admin.execute(END_SESSIONS).fetchall()) == 3
        async with pool.connection() as connection:
            await connection.execute("DELETE FROM carts")


async def test_a_host_that_takes_no_writes_is_no_primary(hosts: Address, database: str) -> None:
    with read_only(database):
        with pytest.raises(psycopg.OperationalError, match="read-only"):
            await connect(hosts, name="test")
        with pytest.raises(MigrationFailed, match="read-only"):
            migrate(hosts)
    async with await connect(hosts, name="test") as connection:
        await connection.execute("DELETE FROM carts")


async def test_a_primary_that_becomes_a_standby_is_left(hosts: Address) -> None:
    renewed = RenewedConnection(hosts, name="test", timeout_s=20)
    async with renewed.use() as before:
        await before.execute("SET default_transaction_read_only = on")
    with pytest.raises(ServerReadOnly):
        async with renewed.use() as connection:
            await connection.execute("DELETE FROM carts")
    async with renewed.use() as after:
        assert (await after.execute("DELETE FROM carts")).rowcount == 0
    assert before.closed
    await renewed.close()
