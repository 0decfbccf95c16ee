"""Records written to the Postgres outbox in the transaction of what they tell of; the relay sends them."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import psycopg

from topics.headers import Headers
from topics.registry import topic

CHANNEL: Final = "cartstream_outbox"
"""Notified when rows were committed (NOTIFY, by a trigger)."""

_OVERHEAD_BYTES: Final = 16 * 1024
"""Room for key, headers and framing beside a value."""

_WRITE: Final = """
INSERT INTO outbox (topic, key, value, headers)
SELECT topic, key, value, headers
FROM unnest(%(topics)s::text[], %(keys)s::text[], %(values)s::text[], %(headers)s::text[]::jsonb[])
     WITH ORDINALITY AS record (topic, key, value, headers, position)
ORDER BY position
"""


class OutboxRecord(msgspec.Struct, frozen=True):
    """A record on its way: `value` is UTF-8 JSON, None for a tombstone; headers are text in UTF-8."""

    topic: str
    key: str
    value: bytes | None
    headers: Headers


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
        _WRITE,
        {
            "topics": [record.topic for record in records],
            "keys": [record.key for record in records],
            "values": [None if record.value is None else record.value.decode() for record in records],
            "headers": [_as_json(record.headers) for record in records],
        },
    )


def _check_size(record: OutboxRecord) -> None:
    size, limit = len(record.value or b""), topic(record.topic).max_message_bytes - _OVERHEAD_BYTES
    if size > limit:
        raise RecordTooLarge(record, size, limit)


def _as_json(headers: Headers) -> str:
    return msgspec.json.encode([(name, value.decode()) for name, value in headers]).decode()
