"""The SQL of the sink replaces and deletes rows as the functions of carts.protocol that it mirrors."""

import itertools

import msgspec
import psycopg

from carts.protocol import Deleted, row_deleted, row_replaced, rows_continue
from carts.state import Version
from sinks.postgres.batch import Batch
from sinks.postgres.table import CartsTable, RowsFellBack
from store.postgres.carts import Deletion, Row
from store.postgres.positions import Move, Position
from store.postgres.session import Address
from tests.sinks.cart_records import grow
from tests.sinks.test_batch import row

VERSIONS = [Version(number, count) for number, count in itertools.product([10, 11, 20], [1, 2, 9])]
PAIRS = {f"user:{number}": pair for number, pair in enumerate(itertools.product(VERSIONS, repeat=2))}
"""Two versions for each of some carts: that of the row, and the one that comes later."""


def row_of(cart_id: str, version: Version, status: str) -> Row:
    """A row at this version, marked by its status."""
    some = row(cart_id, grow(cart_id, 1))
    return msgspec.structs.replace(
        some, version_number=version.number, operation_count=version.operation_count, status=status
    )


def stored(url: str) -> dict[str, str]:
    """The status of each row."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT cart_id, status FROM carts").fetchall())


async def test_a_row_is_replaced_as_the_protocol_says(database: str) -> None:
    async with CartsTable(Address(database)) as table:
        await table.write(Batch([row_of(name, first, "first") for name, (first, _) in PAIRS.items()], []))
        await table.write(Batch([row_of(name, later, "later") for name, (_, later) in PAIRS.items()], []))
    assert stored(database) == {
        name: "later" if row_replaced(first, later) else "first" for name, (first, later) in PAIRS.items()
    }


async def test_of_one_version_the_row_with_the_smaller_window_is_kept(database: str) -> None:
    sizes = {
        f"user:{first}-{later}": (first, later) for first, later in itertools.product([0, 5, 9], repeat=2)
    }
    version = VERSIONS[0]

    def rows(place: int, status: str) -> list[Row]:
        return [
            msgspec.structs.replace(row_of(name, version, status), window_bytes=pair[place])
            for name, pair in sizes.items()
        ]

    async with CartsTable(Address(database)) as table:
        await table.write(Batch(rows(0, "first"), []))
        await table.write(Batch(rows(1, "later"), []))
    assert stored(database) == {
        name: "later" if row_replaced(version, version, is_smaller=later < first) else "first"
        for name, (first, later) in sizes.items()
    }


async def test_a_row_is_deleted_as_the_protocol_says(database: str) -> None:
    deletions = [Deletion(name, gone.number, gone.operation_count) for name, (_, gone) in PAIRS.items()]
    async with CartsTable(Address(database)) as table:
        await table.write(Batch([row_of(name, first, "first") for name, (first, _) in PAIRS.items()], []))
        await table.write(Batch([], deletions))
    assert stored(database).keys() == {
        name for name, (first, gone) in PAIRS.items() if not row_deleted(first, Deleted(gone))
    }


async def test_rows_are_written_where_they_are_as_the_protocol_says(database: str) -> None:
    positions = [0, 1, 5, 6]
    async with CartsTable(Address(database)) as table:
        for expected, found in itertools.product(positions, positions):
            await table.begin([Position(0, "topic", found)])
            try:
                await table.write(Batch([], []), [Move(0, "topic", expected, 9, 0)])
                continues = True
            except RowsFellBack:
                continues = False
            assert continues is rows_continue(expected, found)
            assert (await table.positions([0]))[0].position == (9 if continues else found)
