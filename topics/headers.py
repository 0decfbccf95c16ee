"""Headers of the records: CloudEvents 1.0 in binary mode, the cart's version, where a state was folded from.

As in the CloudEvents Kafka protocol binding 1.0.2: `ce_` before each attribute, text in UTF-8. What does
not differ from record to record is made once, for the gateway writes them on every request. `ce_subject` is
the record's key.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from carts.products import Product
from carts.state import Version
from topics.records import (
    AbandonmentKind,
    AbandonmentRecord,
    CartChanged,
    CartRecord,
    DeadLetterHeaders,
    MergeRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
    PurgeFloor,
)
from topics.registry import record_spec_of

Headers = list[tuple[str, bytes]]

GATEWAY: Final = "/cartstream/gateway"
COMPACTION: Final = "/cartstream/streams/compaction"
ABANDONMENT: Final = "/cartstream/abandonment"
ERASURE: Final = "/cartstream/erasure"
ORDERS: Final = "/cartstream/orders"
PRODUCTS: Final = "/cartstream/products"
MERGES: Final = "/cartstream/merges"

CART_VERSION: Final = "cart_version"
CART_V: Final = "cart_v"
CART_N: Final = "cart_n"
ORDER_VERSION: Final = "order_version"
PRODUCT_VERSION: Final = "product_version"
SOURCE_PARTITION: Final = "source_partition"
SOURCE_OFFSET: Final = "source_offset"
TRACEPARENT: Final = "traceparent"

_MAX_DETAIL: Final = 1000
_INTEGER: Final = re.compile(r"[0-9]{1,19}")


def _constant(
    source: str, event_type: str, value: type[msgspec.Struct] | None
) -> tuple[tuple[str, bytes], ...]:
    """What records with such a value have in common; without a value they have no schema."""
    headers = [("ce_specversion", b"1.0"), ("ce_source", source.encode()), ("ce_type", event_type.encode())]
    if value is not None:
        schema_id = record_spec_of(value).schema_id
        headers += [("content-type", b"application/json"), ("ce_dataschema", schema_id.encode())]
    return tuple(headers)


@lru_cache(maxsize=64)
def _of_change(source: str) -> tuple[tuple[str, bytes], ...]:
    return _constant(source, "cartstream.cart.changed.v1", CartChanged)


_OF_CART: Final = _constant(COMPACTION, "cartstream.cart.state.v1", CartRecord)
_OF_TOMBSTONE: Final = _constant(COMPACTION, "cartstream.cart.deleted.v1", None)
_OF_PURGE_FLOOR: Final = _constant(COMPACTION, "cartstream.purge-floor.v1", PurgeFloor)

_OF_ORDER: Final = {
    status: _constant(ORDERS, f"cartstream.order.{status.value}.v1", OrderRecord) for status in OrderStatus
}

_OF_MERGE: Final = _constant(MERGES, "cartstream.cart.merge.requested.v1", MergeRecord)

_OF_ABANDONMENT: Final = {
    kind: _constant(ABANDONMENT, f"cartstream.cart.{kind.value}.v1", AbandonmentRecord)
    for kind in AbandonmentKind
}

_OF_PRODUCT: Final = _constant(PRODUCTS, "cartstream.product.state.v1", ProductRecord)
_OF_GONE_PRODUCT: Final = _constant(PRODUCTS, "cartstream.product.deleted.v1", None)


def change_headers(
    cart_id: str, v: int, op_id: str, *, source: str = GATEWAY, traceparent: str | None = None
) -> Headers:
    """Headers of a `cart-changed` record; they depend on the change alone.

    `cart_v` is the `v` of the operation; there is no `cart_n`: how many there were is for the fold to say.
    `source` names the process that made the change, `traceparent` is a W3C Trace Context of the request.
    """
    headers = [
        *_of_change(source),
        ("ce_id", f"{cart_id}/{v}/{op_id}".encode()),
        ("ce_subject", cart_id.encode()),
        ("ce_time", _time(v)),
        (CART_V, b"%d" % v),
    ]
    if traceparent is not None:
        headers.append((TRACEPARENT, traceparent.encode()))
    return headers


def cart_headers(cart_id: str, version: Version, source: tuple[int, int] | None) -> Headers:
    """Headers of a `carts` record; `source` is the (partition, offset) in `cart-changed` that it reflects.

    A consumer goes on with the cart in `cart-changed` behind it. What stands before it in `carts` may reflect
    later changes of other carts. None: the state was emitted again, without a new change.
    """
    return _state_headers(_OF_CART, cart_id, version, source)


def tombstone_headers(cart_id: str, version: Version, source: tuple[int, int] | None) -> Headers:
    """Headers of the tombstone that deletes a cart: it deletes copies up to `version`, and no other."""
    return _state_headers(_OF_TOMBSTONE, cart_id, version, source)


def purge_floor_headers(partition: int, purge_floor: int, source: tuple[int, int] | None) -> Headers:
    """Headers of a partition's purge floor record."""
    headers = [
        *_OF_PURGE_FLOOR,
        ("ce_id", f"purge-floor/{partition}/{purge_floor}".encode()),
        ("ce_subject", b"%d" % partition),
        ("ce_time", _time(purge_floor)),
    ]
    return _with_source(headers, source)


def order_headers(record: OrderRecord) -> Headers:
    """Headers of an `orders` record."""
    version = b"%d" % record.version
    return [
        *_OF_ORDER[record.status],
        ("ce_id", b"%s/%s" % (record.order_id.encode(), version)),
        ("ce_subject", record.order_id.encode()),
        ("ce_time", _rfc3339(record.cancelled_at or record.placed_at)),
        (ORDER_VERSION, version),
    ]


def merge_headers(record: MergeRecord) -> Headers:
    """Headers of a `cart-merges` record."""
    time = _rfc3339(record.requested_at)
    return [
        *_OF_MERGE,
        ("ce_id", b"%s/%s" % (record.merge_id.encode(), time)),
        ("ce_subject", record.cart_id.encode()),
        ("ce_time", time),
    ]


def abandonment_headers(record: AbandonmentRecord) -> Headers:
    """Headers of a `cart-abandoned` record."""
    name = f"{record.cart_id}/{record.version_number}/{record.type}"
    return [
        *_OF_ABANDONMENT[record.type],
        ("ce_id", name.encode()),
        ("ce_subject", record.cart_id.encode()),
        ("ce_time", _rfc3339(record.at)),
    ]


def product_headers(product: Product) -> Headers:
    """Headers of a `products` record."""
    return _product_headers(_OF_PRODUCT, product.product_id, product.version, product.updated_at)


def product_tombstone_headers(product_id: str, version: int, at: datetime) -> Headers:
    """Headers of the tombstone that deletes a product: it deletes up to `version`, and nothing newer."""
    return _product_headers(_OF_GONE_PRODUCT, product_id, version, at)


def product_version_header(headers: Iterable[tuple[str, bytes]]) -> int | None:
    """The version in the headers of a `products` record; None where there is none."""
    for name, value in headers:
        if name == PRODUCT_VERSION:
            return _parse_int(_text(value))
    return None


def dead_letter_headers(code: str, detail: str, source: tuple[str, int, int | str], agent: str) -> Headers:
    """Headers that a dead letter of now has beside those of its record; `source` is where that stands.

    Topic, partition, offset. `agent` is the consumer group that gives up, `detail` is cut where it is long.
    """
    topic, partition, offset = source
    reason = DeadLetterHeaders(
        error_code=code,
        error_detail=detail[:_MAX_DETAIL],
        source_topic=topic,
        source_partition=str(partition),
        source_offset=str(offset),
        time=datetime.now(UTC),
        agent=agent,
    )
    return [(name, str(said).encode()) for name, said in msgspec.to_builtins(reason).items()]


def version_header(headers: Iterable[tuple[str, bytes]]) -> Version | None:
    """The `v-n-digest` in the headers of a `carts` record; None where there is none."""
    for name, value in headers:
        if name == CART_VERSION:
            return Version.parse(_text(value))
    return None


class RecordHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Headers as a reader finds them; what is absent or unreadable is None."""

    id: str | None = None
    type: str | None = None
    source: str | None = None
    subject: str | None = None
    time: datetime | None = None
    dataschema: str | None = None
    cart_version: str | None = None
    cart_v: int | None = None
    cart_n: int | None = None
    source_partition: int | None = None
    source_offset: int | None = None
    traceparent: str | None = None


def read_headers(headers: Iterable[tuple[str, bytes]]) -> RecordHeaders:
    """What the headers of a record say; unknown ones are skipped."""
    found = {name: _text(value) for name, value in headers}
    return RecordHeaders(
        id=found.get("ce_id"),
        type=found.get("ce_type"),
        source=found.get("ce_source"),
        subject=found.get("ce_subject"),
        time=_parse_time(found.get("ce_time")),
        dataschema=found.get("ce_dataschema"),
        cart_version=found.get(CART_VERSION),
        cart_v=_parse_int(found.get(CART_V)),
        cart_n=_parse_int(found.get(CART_N)),
        source_partition=_parse_int(found.get(SOURCE_PARTITION)),
        source_offset=_parse_int(found.get(SOURCE_OFFSET)),
        traceparent=found.get(TRACEPARENT),
    )


def _state_headers(
    constant: tuple[tuple[str, bytes], ...], cart_id: str, version: Version, source: tuple[int, int] | None
) -> Headers:
    tag = version.tag()
    headers = [
        *constant,
        ("ce_id", f"{cart_id}/{tag}".encode()),
        ("ce_subject", cart_id.encode()),
        ("ce_time", _time(version.number)),
        (CART_VERSION, tag.encode()),
        (CART_V, b"%d" % version.number),
        (CART_N, b"%d" % version.operation_count),
    ]
    return _with_source(headers, source)


def _with_source(headers: Headers, source: tuple[int, int] | None) -> Headers:
    if source is not None:
        headers += [(SOURCE_PARTITION, b"%d" % source[0]), (SOURCE_OFFSET, b"%d" % source[1])]
    return headers


def _product_headers(
    constant: tuple[tuple[str, bytes], ...], product_id: str, version: int, at: datetime
) -> Headers:
    number = b"%d" % version
    return [
        *constant,
        ("ce_id", b"%s/%s" % (product_id.encode(), number)),
        ("ce_subject", product_id.encode()),
        ("ce_time", _rfc3339(at)),
        (PRODUCT_VERSION, number),
    ]


def _rfc3339(at: datetime) -> bytes:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z".encode()


def _time(v: int) -> bytes:
    """RFC 3339 of a version, in microseconds."""
    seconds, microseconds = divmod(v // 2, 1_000_000)
    return b"%s.%06dZ" % (_second(seconds), microseconds)


@lru_cache(maxsize=1024)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _parse_int(text: str | None) -> int | None:
    return int(text) if text is not None and _INTEGER.fullmatch(text) else None


def _parse_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
