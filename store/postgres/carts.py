"""The table `carts`: a row for each cart, written by the sink alone. All that reads or writes it is here.

Each function works over the caller's connection, in its transaction if there is one, and raises psycopg.Error
when Postgres fails. JSON is text, `subtotal` counts minor units, times are RFC 3339.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import psycopg

from carts.protocol import CartRow
from carts.state import State
from store.postgres.errors import SchemaOutdated
from store.postgres.queries import queries_of
from topics.names import GENERATION

Connection: TypeAlias = psycopg.AsyncConnection[Any]

_query: Final = queries_of("carts")
_state: Final = msgspec.json.Decoder(State)


class Row(msgspec.Struct, frozen=True):
    """A row to write."""

    cart_id: str
    version_number: int
    operation_count: int
    digest: int
    status: str
    currency: str | None
    subtotal: int
    lines: str
    metadata: str
    state: str
    window_bytes: int
    """Of the JSON of the recent operations in `state`."""
    created_at: str | None
    updated_at: str | None


class Deletion(msgspec.Struct, frozen=True):
    """A cart is gone as of a version."""

    cart_id: str
    version_number: int
    operation_count: int


class FoundRow(NamedTuple):
    """A row as it was found, without its times."""

    cart_id: str
    version_number: int
    operation_count: int
    digest: int
    status: str
    currency: str | None
    subtotal: int
    lines: str
    metadata: str
    state: str


class RowAge(NamedTuple):
    """What tells how long a cart has idled, and what trimming it would save.

    Of a merged cart only the state tells whether it has expired.
    """

    cart_id: str
    version_number: int
    operation_count: int
    status: str
    window_bytes: int
    state: str | None
    """Of a merged cart only."""


class TableFacts(NamedTuple):
    """How many rows there are, as far as the planner knows, and the server's clock in microseconds."""

    about_rows: int
    clock_us: int


async def upsert(connection: Connection, rows: Sequence[Row]) -> int:
    """Write rows, each cart once and sorted by id, unless theirs are as new; returns how many it wrote.

    Of the same version, one with a smaller window is newer: its cart has been trimmed.
    """
    return (await connection.execute(_query("upsert_carts"), _arrays(rows, Row))).rowcount


async def delete(connection: Connection, deletions: Sequence[Deletion]) -> int:
    """Delete rows that are not newer than their deletion; returns how many that were."""
    return (await connection.execute(_query("delete_carts"), _arrays(deletions, Deletion))).rowcount


async def delete_replaced(connection: Connection, rows: Sequence[Row]) -> None:
    """Delete the rows that these are to replace; not newer ones, and not those trimmed since."""
    await connection.execute(_query("delete_replaced_carts"), _arrays(rows, Row))


async def read(connection: Connection, cart_ids: Sequence[str]) -> list[FoundRow]:
    """The rows of those carts that have one."""
    cursor = await connection.execute(_query("read_carts"), {"cart_id": list(cart_ids)})
    return [FoundRow._make(row) for row in await cursor.fetchall()]


async def states(connection: Connection, cart_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Id and state (JSON of carts.state.State) of those carts that have a row."""
    cursor = await connection.execute(_query("states_of_carts"), {"cart_id": list(cart_ids)})
    return [(cart_id, state) for cart_id, state in await cursor.fetchall()]


async def look_up(
    connection: Connection,
    partitions: Mapping[str, int],
    unreadable: Callable[[str, msgspec.MsgspecError], None] | None = None,
) -> dict[str, CartRow]:
    """What there is of each cart, given the partition of each, and how far the rows of its partition are.

    Raises msgspec.MsgspecError for a state that nobody can read, too; with `unreadable` that is called with
    the cart's id, and the cart left out.
    """
    parameters = {
        "generation": GENERATION,
        "cart_id": list(partitions),
        "partition": list(partitions.values()),
    }
    cursor = await connection.execute(_query("look_up_carts"), parameters)
    found = {}
    for cart_id, json, position, topic_id in await cursor.fetchall():
        try:
            state = None if json is None else _state.decode(json)
        except msgspec.MsgspecError as error:
            if unreadable is None:
                raise
            unreadable(cart_id, error)
        else:
            found[cart_id] = CartRow(state, position or 0, topic_id or "")
    return found


async def ids_after(connection: Connection, after: str, limit: int) -> list[str]:
    """The next `limit` ids after `after`, in their order."""
    cursor = await connection.execute(_query("cart_ids_after"), {"after": after, "limit": limit})
    return [cart_id for (cart_id,) in await cursor.fetchall()]


async def ages_after(connection: Connection, after: str, limit: int) -> list[RowAge]:
    """The ages of the next `limit` rows after the id `after`, in the order of their ids."""
    cursor = await connection.execute(_query("cart_ages_after"), {"after": after, "limit": limit})
    return [RowAge._make(row) for row in await cursor.fetchall()]


async def count(connection: Connection) -> int:
    """How many rows there are: all are looked at."""
    row = await (await connection.execute(_query("count_carts"))).fetchone()
    return 0 if row is None else int(row[0])


async def mean_bytes(connection: Connection, cart_ids: Sequence[str]) -> float:
    """How large the rows of these carts are on the mean, in bytes; 0 if there are none."""
    row = await (
        await connection.execute(_query("mean_bytes_of_carts"), {"cart_id": list(cart_ids)})
    ).fetchone()
    return 0.0 if row is None else float(row[0])


async def facts(connection: Connection) -> TableFacts:
    """About how many rows there are, without looking at them, and the server's clock."""
    row = await (await connection.execute(_query("facts_of_carts"))).fetchone()
    if row is None:  # a table that is there has an entry in pg_class
        raise SchemaOutdated
    return TableFacts(int(row[0]), int(row[1]))


def _arrays(rows: Sequence[Row] | Sequence[Deletion], kind: type[Row | Deletion]) -> dict[str, list[object]]:
    return {field: [getattr(row, field) for row in rows] for field in kind.__struct_fields__}
