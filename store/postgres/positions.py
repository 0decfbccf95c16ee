"""The table `carts_positions`: how far the rows of `carts` are in the topic, in each generation of it.

Each function works over the caller's connection, in its transaction if there is one, and raises psycopg.Error
when Postgres fails.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from store.postgres.queries import queries_of
from topics.names import GENERATION

Connection: TypeAlias = psycopg.AsyncConnection[Any]

_query: Final = queries_of("positions")


class Position(NamedTuple):
    """The rows have every record of the partition before the offset `position` of the topic with this id.

    `record_time` is the timestamp of the record before it in milliseconds, 0 if it is not known; `age_s` how
    long ago the sink has written, in seconds.
    """

    partition: int
    topic_id: str
    position: int
    record_time: int = 0
    age_s: float = 0.0


class Move(NamedTuple):
    """Rows have been written up to `position`, by a sink that has found or written them up to `expected`.

    `record_time` is the timestamp of the record before `position`.
    """

    partition: int
    topic_id: str
    expected: int
    position: int
    record_time: int


async def begin(connection: Connection, positions: Sequence[Position], generation: int = GENERATION) -> None:
    """Note where partitions begin to be written; what was noted of them before is forgotten."""
    await connection.execute(
        _query("begin_positions"),
        {
            "generation": generation,
            "partition": [each.partition for each in positions],
            "topic_id": [each.topic_id for each in positions],
            "position": [each.position for each in positions],
        },
    )


async def read(connection: Connection, partitions: Sequence[int]) -> dict[int, Position]:
    """The positions of those partitions that have one, in this generation."""
    parameters = {"generation": GENERATION, "partition": list(partitions)}
    cursor = await connection.execute(_query("read_positions"), parameters)
    return {row[0]: Position._make(row) for row in await cursor.fetchall()}


async def move(connection: Connection, moves: Sequence[Move]) -> bool:
    """Move positions of this generation; whether all of them were where they are expected, or further."""
    columns = zip(*moves, strict=True)
    parameters = {"generation": GENERATION, **dict(zip(Move._fields, map(list, columns), strict=True))}
    return (await connection.execute(_query("move_positions"), parameters)).rowcount == len(moves)


async def may_write(connection: Connection) -> bool:
    """Whether the connection's role may note positions, and drop them."""
    return await (await connection.execute(_query("may_write_positions"))).fetchone() == (True,)


async def drop(connection: Connection, generation: int) -> None:
    """Delete those of a generation that nobody reads any more."""
    await connection.execute(_query("drop_positions"), {"generation": generation})
