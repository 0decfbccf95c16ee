"""Records written to the Postgres outbox in the transaction of what they tell of; the relay sends them."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import psycopg

from store.postgres.queries import queries_of
from topics.headers import Headers
from topics.registry import topic

CHANNEL: Final = "cartstream_outbox"
"""Notified when rows were committed (NOTIFY, by a trigger)."""

_OVERHEAD_BYTES: Final = 16 * 1024
"""Room for key, headers and framing beside a value."""

query: Final = queries_of("outbox")


class OutboxRecord(msgspec.Struct, frozen=True):
    """A record on its way: `value` is UTF-8 JSON, None for a tombstone; headers are text in UTF-8."""

    topic: str
    key: str
    value: bytes | None
    headers: Headers


class OutboxRow(msgspec.Struct, frozen=True):
    """A committed record with its number in the outbox."""

    outbox_id: int
    record: OutboxRecord


class OutboxLag(msgspec.Struct, frozen=True):
    """Rows that wait, counted up to a bound, and the age of the oldest in seconds (0 where none waits)."""

    rows: int
    oldest_s: float


class RecordTooLarge(ValueError):
    """A value that its topic would never take: the transaction that wanted to write it must not commit."""

    def __init__(self, record: OutboxRecord, size: int, limit: int) -> None:
        super().__init__(f"the record of {record.key!r} has {size} bytes, {record.topic} takes {limit}")


async def write(connection: psycopg.AsyncConnection[Any], records: Sequence[OutboxRecord]) -> None:
    """Write the records in the caller's transaction; they are sent once it commits, and only then.

    The order is kept among records of one call. Records of one key written by different transactions go in
    the order of these only if the caller holds the lock of the key's row (product, order) when it calls: the
    rows are numbered here, not at the commit. Raises RecordTooLarge before anything is written.
    """
    if not records:
        return
    for record in records:
        _check_size(record)
    await connection.execute(
        query("write_outbox"),
        {
            "topics": [record.topic for record in records],
            "keys": [record.key for record in records],
            "values": [None if record.value is None else record.value.decode() for record in records],
            "headers": [_as_json(record.headers) for record in records],
        },
    )


async def waiting(
    connection: psycopg.AsyncConnection[Any], *, max_records: int, max_bytes: int
) -> list[OutboxRow]:
    """The first rows, in their order: at most `max_records`, and none after `max_bytes` of values."""
    rows = await connection.execute(query("outbox_waiting"), {"records": max_records, "bytes": max_bytes})
    return [
        OutboxRow(outbox_id, OutboxRecord(topic, key, _encoded(value), _as_headers(headers)))
        async for outbox_id, topic, key, value, headers in rows
    ]


async def remove(connection: psycopg.AsyncConnection[Any], outbox_ids: Sequence[int]) -> None:
    """Delete rows that Kafka has acknowledged."""
    await connection.execute(query("remove_from_outbox"), {"outbox_ids": list(outbox_ids)})


async def lag(connection: psycopg.AsyncConnection[Any], *, count_up_to: int = 100_000) -> OutboxLag:
    """How many rows wait and for how long the oldest has; more than `count_up_to` are not counted."""
    row = await (await connection.execute(query("outbox_lag"), {"count_up_to": count_up_to})).fetchone()
    count, oldest_s = row or (0, None)
    return OutboxLag(count, max(0.0, float(oldest_s or 0)))


def _check_size(record: OutboxRecord) -> None:
    size, limit = len(record.value or b""), topic(record.topic).max_message_bytes - _OVERHEAD_BYTES
    if size > limit:
        raise RecordTooLarge(record, size, limit)


def _as_json(headers: Headers) -> str:
    return msgspec.json.encode([(name, value.decode()) for name, value in headers]).decode()


def _as_headers(pairs: list[list[str]]) -> Headers:
    return [(name, value.encode()) for name, value in pairs]


def _encoded(value: str | None) -> bytes | None:
    return None if value is None else value.encode()
