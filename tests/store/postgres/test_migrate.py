"""The schema is brought up by whoever comes first, and once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from sinks.postgres.batch import newest
from sinks.postgres.table import CartsTable
from store.postgres import migrate as module
from store.postgres.errors import MigrationFailed
from store.postgres.migrate import Migration, migrate, migrations, pending
from store.postgres.session import Address
from tests.sinks.cart_records import grow, new_cart_id
from tests.sinks.test_batch import row


def test_migrating_again_does_nothing(postgres_url: str) -> None:
    told: list[int] = []
    assert migrate(Address(postgres_url), lambda migration: told.append(migration.version)) == migrations()
    assert told == [migration.version for migration in migrations()]
    assert migrate(Address(postgres_url)) == []


def test_of_many_at_once_one_migrates(postgres_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: migrate(Address(postgres_url)), range(6)))
    assert sorted(map(len, done)) == [0, 0, 0, 0, 0, len(migrations())]


def test_a_migration_changed_after_it_was_applied_is_refused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(Address(postgres_url))
    first = migrations()[0]
    monkeypatch.setattr(module, "migrations", lambda: [Migration(first.version, first.name, "SELECT 1")])
    with pytest.raises(MigrationFailed, match="has been changed"):
        migrate(Address(postgres_url))


def test_a_migration_that_fails_leaves_nothing(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Migration(9999, "broken", "CREATE TABLE half (id int); SELECT 1 / 0")
    monkeypatch.setattr(module, "migrations", lambda: [broken])
    with pytest.raises(MigrationFailed, match="SQLSTATE 22012"):
        migrate(Address(postgres_url))
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
        assert connection.execute("SELECT count(*) FROM schema_migrations").fetchone() == (0,)


def test_an_older_release_goes_on_with_a_newer_schema(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(Address(postgres_url))
    monkeypatch.setattr(module, "migrations", list)
    assert migrate(Address(postgres_url)) == []


async def test_what_a_database_lacks_is_named(postgres_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        lacking = await pending(connection)
        assert lacking == [f"{known.version:04}_{known.name}" for known in migrations()]
        await asyncio.to_thread(migrate, Address(postgres_url))
        assert await pending(connection) == []
        await connection.execute("DELETE FROM schema_migrations WHERE version = 2")
        assert await pending(connection) == lacking[1:2]


def test_a_database_that_does_not_answer_is_named_with_what_to_do() -> None:
    with pytest.raises(MigrationFailed, match="CARTSTREAM_POSTGRES_URL"):
        migrate(Address("postgresql://cartstream@127.0.0.1:1/cartstream"))


async def test_the_view_shows_a_row_a_line(database: str) -> None:
    cart_id = new_cart_id()
    async with CartsTable(Address(database)) as table:
        await table.write(newest([row(cart_id, grow(cart_id, 2))]))
    with psycopg.connect(database) as connection:
        lines = connection.execute(
            "SELECT line_id, quantity, amount, currency, options, metadata ->> 'title' FROM cart_lines"
            " WHERE cart_id = %s ORDER BY line_id",
            [cart_id],
        ).fetchall()
    assert lines == [(f"product-{number}", 2, 3998, "EUR", {"size": "M"}, "Ümläut & co") for number in (1, 2)]
