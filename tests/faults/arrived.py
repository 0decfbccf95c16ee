"""Stores as they must be after a run, made from `cart-changed` alone: what checks are tried on."""

from collections.abc import Sequence

from carts.fold import fold
from carts.operations import Change
from carts.state import State
from tests.faults.sales import Sales
from tests.faults.stores import Published, Stores, copy_of


def arrived(changes: Sequence[Change], sales: Sales | None = None) -> Stores:
    """Stores in which everything has arrived that stands in `cart-changed`."""
    records: dict[str, list[State]] = {}
    for change in changes:
        states = records.setdefault(change.cart_id, [])
        state = fold(states[-1] if states else None, change).state
        assert state is not None
        states.append(state)
    copies = {cart_id: copy_of(states[-1]) for cart_id, states in records.items()}
    return Stores(
        published=[Published(0, offset, change) for offset, change in enumerate(changes)],
        records=records,
        redis=copies,
        rows=copies,
        sales=sales or Sales(),
    )
