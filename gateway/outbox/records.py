"""The Kafka record of an entry of the Redis outbox; live changes, sweeps and checkouts make it here."""

from typing import TYPE_CHECKING

import msgspec

from runtime import tracing
from store.redis import OutboxEntry
from topics.headers import TRACEPARENT, Headers, change_headers
from topics.registry import CART_CHANGED

if TYPE_CHECKING:
    from runtime.tracing.opentelemetry import Tracing


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
    """The record of an entry; `trace` are further headers. Without them it has the trace that the entry has.

    Its time is that of the script, or `read_ms`, when a sweeper has read the entry. It is never now: the
    broker shall refuse a publisher that was frozen since.
    """
    headers = change_headers(entry.cart_id, entry.version, entry.op_id)
    if trace is None and entry.traceparent:
        trace = [(TRACEPARENT, entry.traceparent.encode())]
    if trace and tracing.active is not None:
        trace = _in_a_span(tracing.active, trace, read_ms)
    return ChangeRecord(
        key=entry.cart_id.encode(),
        value=entry.event,
        timestamp=entry.version // 2000 if read_ms is None else read_ms,
        headers=headers + trace if trace else headers,
        outbox_id=entry.id,
        op_id=entry.op_id,
    )


def _in_a_span(active: "Tracing", trace: Headers, read_ms: int | None) -> Headers:
    """The headers, with the span in which the record is made."""
    by = "gateway" if read_ms is None else "sweeper"
    return [
        (name, active.sent(CART_CHANGED.name, value.decode(), {"cartstream.publisher": by}).encode())
        if name == TRACEPARENT
        else (name, value)
        for name, value in trace
    ]
