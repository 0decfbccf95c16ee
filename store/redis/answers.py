"""Redis's replies as what the store answers."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from carts.protocol import Marker, PutOutcome
from store.redis.absence import Missing
from store.redis.packing import unpack_extras
from store.redis.requests import ChangeRequest
from store.redis.results import (
    Applied,
    ChangeOutcome,
    OutboxDepth,
    OutboxEntry,
    PutResult,
    Reason,
    Refused,
    Replayed,
    Restoring,
)
from store.redis.stored import StoredCart, version_of


class _EventVersion(msgspec.Struct, rename={"version": "v"}):
    version: int


_RESTORING: Final = Refused(reason=Reason.RESTORING)
_EVENT_VERSION: Final = msgspec.json.Decoder(_EventVersion)


def changed(request: ChangeRequest, partition: int, reply: list[Any]) -> ChangeOutcome:
    """The answer of the change script."""
    if reply[0] == b"refused":
        return refused(reply)
    kind, v, event, outbox_id, oldest, head, fields = reply
    version = int(v)
    cart = StoredCart(request.cart_id, fields) if fields is not None else None
    entry = (
        OutboxEntry(outbox_id.decode(), request.op_id, request.cart_id, event, version) if outbox_id else None
    )
    if kind == b"applied" and entry is not None:
        return Applied(
            partition=partition,
            operation_version=version,
            version=version_of(head),
            entry=entry,
            oldest_outbox_us=oldest,
            cart=cart,
        )
    return Replayed(
        partition=partition,
        operation_version=version,
        version=version_of(head),
        entry=entry,
        oldest_outbox_us=oldest,
        cart=cart,
    )


def refused(reply: Sequence[Any]) -> Refused:
    """Why the change script refused."""
    reason = Reason(reply[1].decode())
    details = reply[2:]
    refusal = Refused(reason=reason)
    match reason:
        case Reason.UNKNOWN_CART:
            missed = missing(details[0], int(details[1]))
            refusal = Refused(reason=reason, missing=missed) if isinstance(missed, Missing) else _RESTORING
        case Reason.PRECONDITION_FAILED:
            refusal = Refused(reason=reason, tag=details[0].decode())
        case Reason.CLAIMED | Reason.MERGED:
            extras = unpack_extras(details[0])
            merge_id, into = (extras.claim.merge_id, extras.claim.into) if extras.claim else (None, None)
            refusal = Refused(reason=reason, merge_id=merge_id, into=extras.merged_into or into)
        case Reason.LIMIT:
            refusal = Refused(
                reason=reason, limit=details[0].decode(), step=details[1], bound=int(details[2])
            )
        case Reason.LINE_NOT_FOUND:
            refusal = Refused(reason=reason, step=details[0])
        case Reason.CURRENCY:
            refusal = Refused(reason=reason, step=details[0], currency=details[1].decode())
        case Reason.WINDOW_FULL:
            refusal = Refused(reason=reason, retry_after_us=details[0])
    return refusal


def marker(value: bytes) -> Marker | None:
    """A partition's marker; none of an earlier version's, which did not say enough: restore again."""
    restoration, _, rest = value.decode().partition(" ")
    position, _, rest = rest.partition(" ")
    time_us, separator, topic_id = rest.partition(" ")
    return Marker(restoration, int(position), int(time_us), topic_id) if separator else None


def missing(value: bytes | None, time_us: int) -> Missing | Restoring:
    """A cart that was missed at `time_us`, in a partition with this marker (None: there is none)."""
    found = None if value is None else marker(value)
    return Restoring() if found is None else Missing(found, time_us)


def put_result(cart_id: str, result: Any) -> PutResult:
    """What the put script did to one cart."""
    if isinstance(result, list):
        pairs = zip(result[::2], result[1::2], strict=True)
        missing = tuple((int(v), op_id.decode()) for v, op_id in pairs)
        return PutResult(cart_id, PutOutcome.UNCOVERED, missing)
    return PutResult(cart_id, PutOutcome(result.decode()))


def outbox_entry(reply: Sequence[Any]) -> OutboxEntry:
    """An entry of the outbox's stream."""
    entry_id, fields = reply
    _, op_id, _, cart_id, _, event, *trace = fields
    return OutboxEntry(
        entry_id.decode(),
        op_id.decode(),
        cart_id.decode(),
        event,
        _EVENT_VERSION.decode(event).version,
        trace[1].decode() if trace else "",
    )


def outbox_depth(partition: int, entries: int, backlog: bytes | None, now_us: int) -> OutboxDepth:
    """The depth of an outbox out of `backlog`: its bytes, and the milliseconds of its oldest entry."""
    if backlog is None:
        return OutboxDepth(partition, entries, 0, 0, now_us)
    size, oldest = backlog.split(b" ")
    return OutboxDepth(partition, entries, int(size), max(0, now_us - int(oldest) * 1000), now_us)


def entry_time_us(entry_id: bytes) -> int:
    """When a stream entry was made, by Redis's clock, in microseconds; exact to a millisecond."""
    return int(entry_id.partition(b"-")[0]) * 1000


def microseconds(time: Sequence[bytes]) -> int:
    """The reply to TIME in microseconds."""
    return int(time[0]) * 1_000_000 + int(time[1])


def info(text: bytes) -> dict[str, str]:
    """The fields of INFO."""
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
