"""What stands in the tables of orders and checkouts."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from carts.operations import Delta, OrderedLine
from carts.state import State
from carts.view import Adjustment, Totals
from topics.records import OrderLine, OrderRecord


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order to be placed, and all that has to be known of it later.

    `key` is the client's Idempotency-Key and `fingerprint` tells what it was sent with; both are none where
    the order is known by its checkout's token. `subtraction` takes the order out of the cart, bought from the
    snapshot at `snapshot_version`. `reserved` has the products whose pieces came out of a counted stock.
    """

    record: OrderRecord
    key: str | None
    fingerprint: str | None
    subtraction: Delta
    snapshot_version: int
    reserved: frozenset[str] = frozenset()


class PlacedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it stands; `settled`: the folded cart has the subtraction, or will never need it."""

    record: OrderRecord
    fingerprint: str | None
    subtraction: Delta
    snapshot_version: int
    settled: bool = False


class Position(NamedTuple):
    """Where a walk through the unsettled orders has got to; the default is before all of them."""

    placed_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    order_id: str = ""


class UnsettledOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order not yet seen in its cart; `state` is that of the cart's row, none without one."""

    position: Position
    order_id: str
    cart_id: str
    subtraction: Delta
    snapshot_version: int
    state: State | None


class CheckoutStatus(StrEnum):
    """What has become of a checkout."""

    OPEN = "open"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkout handed out. `ordered` are the same lines with the versions that had decided them."""

    version: str
    currency: str
    lines: list[OrderLine]
    totals: Totals
    ordered: list[OrderedLine]
    adjustments: list[Adjustment] = []


class Checkout(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout as it stands; `reference` is what the owner of orders calls the order."""

    token: str
    cart_id: str
    status: CheckoutStatus
    snapshot: Snapshot
    reference: str | None
    expires_at: datetime
