"""The rows of the tables of orders and checkouts."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from carts.details import NO_DETAILS, Details
from carts.operations import Delta, OrderedLine
from carts.state import State
from carts.view import Adjustment, Totals
from topics.records import OrderLine, OrderRecord


class PlacedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order, and what it means to its cart.

    `subtraction` takes the order out of the cart; it was ordered from the snapshot at `snapshot_version`.
    `fingerprint` is that of the request's body, None for the order of an external checkout. `settled`: the
    folded cart has the subtraction, or will never need it.
    """

    record: OrderRecord
    subtraction: Delta
    snapshot_version: int
    fingerprint: str | None = None
    settled: bool = False


class Position(NamedTuple):
    """A place in the list of unsettled orders; the default is before all of them."""

    placed_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    order_id: str = ""


class UnsettledOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order not yet seen in its cart; `state` is that of the cart's row, None without a row.

    `unreadable` says why nobody can read the state of the row.
    """

    position: Position
    order_id: str
    cart_id: str
    subtraction: Delta
    snapshot_version: int
    state: State | None
    unreadable: str | None = None


class CheckoutStatus(StrEnum):
    """Whether an external checkout is open, and how it has ended."""

    OPEN = "open"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class PricedSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What an external checkout offers for sale: the lines of a snapshot with their prices, and its details.

    `ordered` has the same lines, each with the version that had decided it.
    """

    version: str
    currency: str
    lines: list[OrderLine]
    totals: Totals
    ordered: list[OrderedLine]
    adjustments: list[Adjustment] = []
    details: Details = NO_DETAILS


class Checkout(msgspec.Struct, frozen=True, kw_only=True):
    """An external checkout; `reference` is the id that the owner of orders has given the order."""

    token: str
    cart_id: str
    status: CheckoutStatus
    snapshot: PricedSnapshot
    reference: str | None
    expires_at: datetime
