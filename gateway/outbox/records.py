"""The Kafka record of an entry of the Redis outbox; live changes, sweeps and checkouts make it here."""

import msgspec

from store.redis import OutboxEntry
from topics.headers import Headers, change_headers


class ChangeRecord(msgspec.Struct, frozen=True):
    """One `cart-changed` record, and the outbox entry that its acknowledgement removes.

    `timestamp` is in milliseconds.
    """

    key: bytes
    value: bytes
    timestamp: int
    headers: Headers
    outbox_id: str
    op_id: str


def record_of(
    entry: OutboxEntry, *, trace: Headers | None = None, read_ms: int | None = None
) -> ChangeRecord:
    """The record of an entry; `trace` are further headers.

    Its time is that of the script, or `read_ms`, when a sweeper has read the entry. It is never now: the
    broker shall refuse a publisher that was frozen since.
    """
    headers = change_headers(entry.cart_id, entry.version, entry.op_id)
    return ChangeRecord(
        key=entry.cart_id.encode(),
        value=entry.event,
        timestamp=entry.version // 2000 if read_ms is None else read_ms,
        headers=headers + trace if trace else headers,
        outbox_id=entry.id,
        op_id=entry.op_id,
    )
