"""The cart as a reader sees it: over HTTP and in the `carts` topic."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from carts.content import Line, SavedLine, shown
from carts.details import NO_DETAILS, Details
from carts.operations import Metadata
from carts.state import State, Status, Version

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CartLine(msgspec.Struct, frozen=True):
    """A line shown: `quantity` pieces at `unit_price` minor units each, `line_total` together."""

    line_id: str
    product_id: str
    quantity: int
    unit_price: int
    options: dict[str, str] = {}
    metadata: Metadata = {}
    line_total: int = 0


class SavedForLater(msgspec.Struct, frozen=True):
    """A line saved for later, beside the cart: it has no price and is not ordered."""

    line_id: str
    product_id: str
    quantity: int
    options: dict[str, str] = {}
    metadata: Metadata = {}


class Totals(msgspec.Struct, frozen=True):
    """Minor units of the cart's currency. Discount is a positive number; without adjustments it is 0."""

    subtotal: int
    discount: int
    tax: int
    total: int


class Adjustment(msgspec.Struct, frozen=True):
    """A discount, a fee or a tax (its code is `tax` or begins with `tax-`) in minor units.

    `amount` is negative for a discount; `target` is a line id, none for the whole cart.
    """

    code: str
    amount: int
    target: str | None = None


class CartWarning(msgspec.Struct, frozen=True):
    """Something the shopper should see, such as a changed price; `target` is a line id."""

    code: str
    target: str | None = None


class CartView(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader sees. `version` is `v-n-digest` as in the ETag; `0-0-000000000000`: never written."""

    cart_id: str
    status: Status
    version: str
    currency: str | None
    lines: Sequence[CartLine]
    totals: Totals
    metadata: Metadata
    details: Details = NO_DETAILS
    saved: Sequence[SavedForLater] = ()
    adjustments: list[Adjustment] = []
    warnings: list[CartWarning] = []
    merged_into: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


def line_of(line_id: str, line: Line) -> CartLine:
    """A line as it is shown."""
    return CartLine(
        line_id,
        line.product_id,
        line.quantity,
        line.unit_price,
        line.options,
        line.metadata,
        line.quantity * line.unit_price,
    )


def saved_of(saved: Mapping[str, SavedLine]) -> list[SavedForLater]:
    """The lines saved for later as they are shown, by line id."""
    return [
        SavedForLater(line_id, line.product_id, line.quantity, line.options, line.metadata)
        for line_id, line in sorted(saved.items())
    ]


def totals_of(subtotal: int, adjustments: Iterable[Adjustment] = ()) -> Totals:
    """The sums of a cart: what is to be paid never falls below 0."""
    amounts = [(adjustment.code, adjustment.amount) for adjustment in adjustments]
    return Totals(
        subtotal=subtotal,
        discount=-sum(amount for _, amount in amounts if amount < 0),
        tax=sum(amount for code, amount in amounts if amount > 0 and _is_tax(code)),
        total=max(0, subtotal + sum(amount for _, amount in amounts)),
    )


def _is_tax(code: str) -> bool:
    return code == "tax" or code.startswith("tax-")


def time_of(version: int) -> datetime | None:
    """The UTC time a version number was made, none for 0."""
    return _EPOCH + timedelta(microseconds=version // 2) if version else None


def last_version_of(time: datetime) -> int:
    """The highest version number of that microsecond; at least 0."""
    return max(0, 2 * ((time - _EPOCH) // timedelta(microseconds=1)) + 1)


def view(cart_id: str, state: State, version: Version | None = None) -> CartView:
    """The reader's view of `state`; `version` is the state's, where the caller has it already."""
    content = state.content()
    lines = [line_of(line_id, line) for line_id, line in shown(content)]
    subtotal = sum(line.line_total for line in lines)
    return CartView(
        cart_id=cart_id,
        status=state.status,
        version=(version or state.version).tag(),
        currency=content.currency,
        lines=lines,
        totals=totals_of(subtotal),
        metadata=content.metadata,
        details=content.details,
        saved=saved_of(content.saved),
        merged_into=state.merged_into,
        created_at=time_of(state.born),
        updated_at=time_of(state.version_number),
    )
