"""The records: what stands in each topic, as Structs and from their domain types."""

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from carts.details import NO_DETAILS, Details
from carts.operations import Change, Metadata
from carts.products import Product
from carts.state import State, Version
from carts.view import Adjustment, CartView, Totals, view

CartChanged = Change
"""The value of a `cart-changed` record."""

ProductRecord = Product
"""The value of a `products` record."""


PURGE_FLOOR_PREFIX: Final = b"!purge-floor/"
"""Keys that start with it are those of PurgeFloor records that once stood in `carts`: no cart id looks so."""


class CartRecord(CartView, frozen=True, kw_only=True):
    """The value of a `carts` record: the reader's view of a cart and, for recovery, its whole state.

    `v` and `n` are the numbers in `version`, to compare records by; 0 in those older than version 3.
    """

    state: State
    version_number: int = msgspec.field(default=0, name="v")
    operation_count: int = msgspec.field(default=0, name="n")


class PurgeFloor(msgspec.Struct, frozen=True):
    """The value of a `purge-floors` record: the highest version ever deleted in a partition of `carts`."""

    purge_floor: int


class OrderStatus(StrEnum):
    """How an order stands."""

    PLACED = "placed"
    CANCELLED = "cancelled"


class OrderLine(msgspec.Struct, frozen=True):
    """An ordered line: `quantity` pieces at `unit_price` minor units, `name` as the catalogue had it then."""

    line_id: str
    product_id: str
    quantity: int
    unit_price: int
    name: str | None = None
    options: dict[str, str] = {}
    metadata: Metadata = {}


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The value of an `orders` record: the whole order as of `version`, 1 when placed.

    It rises when the order is cancelled, and when the shopper's own data is erased from it.

    `seq` is the order's number within its cart, `details` are those that the cart had. A reader that has seen
    a higher version passes a lower one over: records may come again.
    """

    order_id: str
    cart_id: str
    seq: int
    status: OrderStatus
    version: int
    currency: str
    lines: list[OrderLine]
    totals: Totals
    placed_at: datetime
    cancelled_at: datetime | None = None
    adjustments: list[Adjustment] = []
    email: str | None = None
    metadata: Metadata = {}
    details: Details = NO_DETAILS


class MergeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a `cart-merges` record: a merge that is to be carried on.

    What it has to do stands in the database; records may come again, and for merges that have ended.
    """

    merge_id: str
    guest_cart_id: str
    cart_id: str
    """The cart that gets the lines."""
    requested_at: datetime


class AbandonmentKind(StrEnum):
    """What a record of `cart-abandoned` tells of."""

    ABANDONED = "abandoned"
    RECOVERED = "recovered"


class LineLeft(msgspec.Struct, frozen=True):
    """A line of a cart left behind; `unit_price` in minor units."""

    line_id: str
    product_id: str
    quantity: int
    unit_price: int


class AbandonmentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a `cart-abandoned` record: a cart was left behind, or was taken up again.

    `version_number` names the idle period: once `abandoned`, then once `recovered` at the most. Records may
    come again. `recovery_token` leads back to the cart until `recovery_expires_at`; with `recovered` there is
    none. `recovered_by` is `changed` or `ordered`, with the `order_id`.
    """

    type: AbandonmentKind
    cart_id: str
    version_number: int
    idle_since: datetime
    at: datetime
    currency: str | None
    subtotal: int
    lines: list[LineLeft] = []
    recovery_token: str | None = None
    recovery_expires_at: datetime | None = None
    recovered_by: str | None = None
    order_id: str | None = None


class DeadLetterHeaders(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: f"dlq_{name}"):
    """The headers of a dead letter, as text; its key and value are those of the source record.

    The headers of the source record are kept beside them. `error_code` is one of a fixed set per agent,
    `error_detail` a sentence, `time` RFC 3339, `agent` the consumer group that gave up.
    """

    error_code: str
    error_detail: str
    source_topic: str
    source_partition: str
    source_offset: str
    time: datetime
    agent: str


class LetterMarkHeaders(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: f"dlq_{name}"):
    """The headers of a mark, as text: somebody has dealt with a dead letter of the same partition.

    A mark has the letter's key and no value. `letter` is the letter's `partition:offset`, `handled` is
    `replayed` or `dropped`, `detail` a sentence, `time` RFC 3339. It stands after its letter in the same
    partition, so that retention never takes it first.
    """

    letter: str
    handled: str
    detail: str
    time: datetime


def purge_floor_key(partition: int) -> bytes:
    """The key of the partition's PurgeFloor record; it goes to just that partition, whatever its hash."""
    return b"%d" % partition


def purge_floor_key_in_carts(partition: int) -> bytes:
    """The key that it had when purge floors stood in `carts`."""
    return PURGE_FLOOR_PREFIX + b"%d" % partition


def cart_record(cart_id: str, state: State, version: Version | None = None) -> CartRecord:
    """The `carts` record of `state`; `version` is the state's, where the caller has it already."""
    known = state.version if version is None else version
    seen = view(cart_id, state, known)
    return CartRecord(
        **{name: getattr(seen, name) for name in seen.__struct_fields__},
        state=state,
        version_number=known.number,
        operation_count=known.operation_count,
    )


def version_of(record: CartRecord) -> Version:
    """The version of the record's state."""
    return record.state.version
