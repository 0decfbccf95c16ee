"""The records of version 1: what stands in each topic, as Structs and from their domain types."""

import msgspec

from carts.operations import Change
from carts.state import State, Version
from carts.view import CartView, view

CartChanged = Change
"""The value of a `cart-changed` record."""


class CartRecord(CartView, frozen=True, kw_only=True):
    """The value of a `carts` record: the reader's view of a cart and, for recovery, its whole state."""

    state: State


class PurgeFloor(msgspec.Struct, frozen=True):
    """The reserved `carts` record of a partition: the highest version ever deleted in it."""

    purge_floor: int


def cart_record(cart_id: str, state: State) -> CartRecord:
    """The `carts` record of `state`."""
    seen = view(cart_id, state)
    return CartRecord(**{name: getattr(seen, name) for name in seen.__struct_fields__}, state=state)


def version_of(record: CartRecord) -> Version:
    """The version of the record's state."""
    return record.state.version
