"""What operators see of orders, merges, carts left behind and mails: the first of each, and how many.

Raises psycopg.Error when Postgres fails.
"""

from datetime import datetime
from typing import Any, Final

import msgspec
import psycopg

from store.postgres import outbox
from store.postgres.queries import queries_of

Connection = psycopg.AsyncConnection[Any]

COUNTED: Final = 10_000
"""No count goes further."""

_query: Final = queries_of("overview")


class Unsettled(msgspec.Struct, frozen=True):
    """An order not yet seen in its cart."""

    order_id: str
    cart_id: str
    placed_at: datetime


class OpenMerge(msgspec.Struct, frozen=True):
    """A merge that may have something to carry on; `attended_at`: when somebody last did."""

    merge_id: str
    guest: str
    into: str
    began_at: datetime
    attended_at: datetime
    handed_over_at: datetime | None


class LeftBehind(msgspec.Struct, frozen=True):
    """A cart that was told of as left behind and not taken up again; `subtotal` in minor units."""

    cart_id: str
    idle_since: datetime
    abandoned_at: datetime
    currency: str | None
    subtotal: int
    lines: int


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `left_behind` of the last 24 hours; no count is above COUNTED."""

    version: str
    connections: int
    max_connections: int
    outbox_rows: int
    outbox_oldest_s: float
    unsettled_count: int
    unsettled: list[Unsettled]
    merges_count: int
    merges: list[OpenMerge]
    transfers_count: int
    transfers_oldest: datetime | None
    left_behind_count: int
    left_behind: list[LeftBehind]
    mails_count: int
    mails_oldest: datetime | None


async def read(connection: Connection, limit: int) -> Tables:
    """All of it, at most `limit` of each kind."""
    version, max_connections, connections = await _row(connection, "server", limit)
    lag = await outbox.lag(connection, count_up_to=COUNTED)
    transfers_count, transfers_oldest = await _row(connection, "unsettled_transfers", COUNTED)
    mails_count, mails_oldest = await _row(connection, "mails_waiting", COUNTED)
    (unsettled_count,) = await _row(connection, "count_unsettled", COUNTED)
    (merges_count,) = await _row(connection, "count_open_merges", COUNTED)
    (left_behind_count,) = await _row(connection, "count_left_behind", COUNTED)
    return Tables(
        version=version,
        connections=connections,
        max_connections=max_connections,
        outbox_rows=lag.rows,
        outbox_oldest_s=lag.oldest_s,
        unsettled_count=unsettled_count,
        unsettled=[Unsettled(*row) for row in await _rows(connection, "unsettled", limit)],
        merges_count=merges_count,
        merges=[OpenMerge(*row) for row in await _rows(connection, "open_merges", limit)],
        transfers_count=transfers_count,
        transfers_oldest=transfers_oldest,
        left_behind_count=left_behind_count,
        left_behind=[LeftBehind(*row) for row in await _rows(connection, "left_behind", limit)],
        mails_count=mails_count,
        mails_oldest=mails_oldest,
    )


async def _row(connection: Connection, name: str, limit: int) -> tuple[Any, ...]:
    (row,) = await _rows(connection, name, limit)
    return row


async def _rows(connection: Connection, name: str, limit: int) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(_query(name), {"limit": limit})
    return await cursor.fetchall()
