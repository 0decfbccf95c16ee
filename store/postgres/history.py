"""The table `cart_changes`: every operation of every cart, a partition a day. All that uses it is here.

Each function works over the caller's connection, in its transaction if there is one, and raises psycopg.Error
when Postgres fails.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import psycopg
from psycopg import sql

from carts.limits import MAX_SAFE_INTEGER
from carts.operations import Change, Delta
from store.postgres.queries import queries_of

Connection: TypeAlias = psycopg.AsyncConnection[Any]

NEWEST: Final = MAX_SAFE_INTEGER
"""No version is above it."""
_LOCK_S: Final = 5
"""How long a change of the schema waits for readers and writers; they wait behind it."""

_query: Final = queries_of("history")
_encoder: Final = msgspec.json.Encoder()
_delta: Final = msgspec.json.Decoder(Delta)


class Position(NamedTuple):
    """Where an operation stands in its cart's history."""

    version: int
    op_id: str


class Partition(NamedTuple):
    """The table that has the operations of one day (UTC)."""

    name: str
    day: date


async def insert(connection: Connection, changes: Sequence[Change]) -> int:
    """Write operations that are not there yet, and not erased, in this order; returns how many it wrote."""
    columns = {
        "cart_id": [change.cart_id for change in changes],
        "version": [change.version for change in changes],
        "op_id": [change.op_id for change in changes],
        "operation": [_encoder.encode(change.delta).decode() for change in changes],
        "previous_version": [change.previous_version for change in changes],
        "born": [change.born for change in changes],
        "actor": [change.actor for change in changes],
        "cause": [change.cause for change in changes],
    }
    return (await connection.execute(_query("insert_changes"), columns)).rowcount


async def erase(connection: Connection, erased: Sequence[tuple[str, int]]) -> int:
    """Delete what carts, each once, have done before the version of their erasure; how many rows that was.

    What arrives late of it is not written.
    """
    columns = {
        "cart_id": [cart_id for cart_id, _ in erased],
        "version": [version for _, version in erased],
    }
    return (await connection.execute(_query("erase_changes"), columns)).rowcount


async def count(connection: Connection, cart_id: str, until: int = NEWEST) -> int:
    """How many operations up to a version there are of a cart; erasures are not counted."""
    cursor = await connection.execute(_query("count_changes"), {"cart_id": cart_id, "until": until})
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def before(connection: Connection, cart_id: str, position: Position, limit: int) -> list[Change]:
    """The cart's operations before a position, newest first."""
    return await _changes(
        connection,
        "changes_before",
        {"cart_id": cart_id, "version": position.version, "op_id": position.op_id, "limit": limit},
    )


async def until(connection: Connection, cart_id: str, version: int, limit: int) -> list[Change]:
    """The cart's operations up to a version, in the order of their fold; the first `limit` at most."""
    return await _changes(connection, "changes_until", {"cart_id": cart_id, "until": version, "limit": limit})


async def partitions(connection: Connection) -> list[Partition]:
    """The partitions, oldest first, without that of the rest."""
    cursor = await connection.execute(_query("partitions"))
    return [Partition._make(row) for row in await cursor.fetchall()]


async def create_partition(connection: Connection, day: date) -> bool:
    """Make the partition of a day; not where the rest has operations of that day already."""
    async with connection.transaction():
        await _limit_wait(connection)
        cursor = await connection.execute(_query("create_partition"), {"day": day})
        made = await cursor.fetchone()
    return bool(made and made[0])


async def drop_partition(connection: Connection, partition: Partition) -> None:
    """Drop a partition and what it holds."""
    async with connection.transaction():
        await _limit_wait(connection)
        await connection.execute(_query("drop_partition"), {"day": partition.day})


async def delete_from_rest(connection: Connection, day: date) -> int:
    """Delete what the partition of the rest has of days before `day`; how many rows that was."""
    return (await connection.execute(_query("delete_from_rest"), {"day": day})).rowcount


async def forget_erasures(connection: Connection, kept: timedelta) -> None:
    """Forget erasures that are older than anything that could arrive late."""
    await connection.execute(_query("forget_erasures"), {"kept": kept})


async def _limit_wait(connection: Connection) -> None:
    await connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{_LOCK_S}s")))


async def _changes(connection: Connection, name: str, parameters: dict[str, object]) -> list[Change]:
    cursor = await connection.execute(_query(name), parameters)
    return [
        Change(
            cart_id=str(parameters["cart_id"]),
            version=version,
            op_id=op_id,
            delta=_delta.decode(operation),
            previous_version=previous_version,
            born=born,
            actor=actor,
            cause=cause,
        )
        for version, op_id, operation, previous_version, born, actor, cause in await cursor.fetchall()
    ]
