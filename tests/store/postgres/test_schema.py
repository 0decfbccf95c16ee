"""A schema of the product's own: it shares a database with a monolith that has tables of the same names."""

import asyncio
import uuid
from datetime import UTC, datetime

import psycopg
import pytest

from jobs.leadership import leadership
from ops.sample import sample_products
from sinks.postgres.batch import newest
from sinks.postgres.table import CartsTable
from store.postgres import carts, history, outbox
from store.postgres.errors import MigrationFailed, SchemaOutdated
from store.postgres.migrate import migrate, migrations, pending
from store.postgres.products import put_all
from store.postgres.session import Address, connect
from tests.sinks.cart_records import grow, new_cart_id
from tests.sinks.test_batch import row
from tests.support.monolith import OBJECTS, SCHEMA, Monolith


@pytest.fixture
def monolith(postgres_url: str) -> Monolith:
    """A monolith in the database, which has not got the product's schema."""
    return Monolith(postgres_url)


@pytest.fixture
def unprivileged(monolith: Monolith) -> Monolith:
    """The same, of a user who may be refused something."""
    if monolith.is_of_superuser():
        pytest.skip("NOT tested what a user lacks: that in the URL is a superuser")
    return monolith


@pytest.fixture
def address(postgres_url: str) -> Address:
    """The product's schema beside it."""
    return Address(postgres_url, SCHEMA)


async def test_a_shop_lives_beside_a_monolith(monolith: Monolith, address: Address) -> None:
    assert await asyncio.to_thread(migrate, address) == migrations()
    assert await asyncio.to_thread(migrate, address) == []

    cart_id = new_cart_id()
    async with CartsTable(address) as table:
        assert await table.write(newest([row(cart_id, grow(cart_id, 2))])) == 1
    async with await connect(address, name="test") as connection, connection.transaction():
        assert await pending(connection) == []
        assert [found.cart_id for found in await carts.read(connection, [cart_id])] == [cart_id]
        assert (await carts.facts(connection)).about_rows == 0
        assert len(await put_all(connection, sample_products())) == len(sample_products())
        assert await outbox.waiting(connection, max_records=1, max_bytes=1 << 20)
        day = datetime.now(UTC).date()
        assert await history.create_partition(connection, day)
        (made,) = await history.partitions(connection)
        assert made.day == day
        await history.drop_partition(connection, made)
    assert monolith.is_untouched()


async def test_two_shops_in_one_database_have_jobs_of_their_own(postgres_url: str) -> None:
    asked = asyncio.Event()
    async with (
        leadership("rounds", Address(postgres_url, "one"), asked.set),
        leadership("rounds", Address(postgres_url, "two"), asked.set) as connection,
    ):
        assert not connection.closed


def test_the_monoliths_schema_is_refused(monolith: Monolith, postgres_url: str) -> None:
    with pytest.raises(MigrationFailed, match="CARTSTREAM_POSTGRES_SCHEMA"):
        migrate(Address(postgres_url))
    monolith.execute("ALTER TABLE schema_migrations RENAME TO versions")
    with pytest.raises(MigrationFailed, match="CARTSTREAM_POSTGRES_SCHEMA"):
        migrate(Address(postgres_url))


async def test_a_monoliths_tables_are_never_taken_for_the_shops(monolith: Monolith, address: Address) -> None:
    async with CartsTable(address) as table:
        with pytest.raises(SchemaOutdated, match="cartstream migrate"):
            await table.write(newest([row("user:1", grow("user:1", 1))]))
    assert monolith.is_untouched()


def test_who_may_not_make_the_schema_is_told_what_is_missing(
    unprivileged: Monolith, address: Address
) -> None:
    (name,) = (psycopg.conninfo.conninfo_to_dict(address.url)["dbname"],)
    unprivileged.execute(f"REVOKE CREATE ON DATABASE {name} FROM CURRENT_USER")
    with pytest.raises(
        MigrationFailed, match=f"CREATE SCHEMA {SCHEMA} AUTHORIZATION .*GRANT CREATE ON DATABASE"
    ):
        migrate(address)
    unprivileged.execute(f"GRANT CREATE ON DATABASE {name} TO CURRENT_USER")
    unprivileged.execute(f"CREATE SCHEMA {SCHEMA}; REVOKE CREATE ON DATABASE {name} FROM CURRENT_USER")
    assert migrate(address) == migrations()


def test_a_schema_that_may_not_be_changed_is_told(unprivileged: Monolith, address: Address) -> None:
    unprivileged.execute(f"CREATE SCHEMA {SCHEMA}; REVOKE ALL ON SCHEMA {SCHEMA} FROM CURRENT_USER")
    with pytest.raises(MigrationFailed, match=f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA}"):
        migrate(address)


def test_schemas_that_were_migrated_are_equal(postgres_url: str) -> None:
    names = [f"shop_{uuid.uuid4().hex[:8]}" for _ in range(2)]
    found = []
    for name in names:
        migrate(Address(postgres_url, name))
        with psycopg.connect(postgres_url) as connection:
            found.append(connection.execute(OBJECTS, {"schema": name}).fetchall())
    assert found[0] == found[1]
    assert len(found[0]) > 60
