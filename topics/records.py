"""The records of version 1: what stands in each topic, as Structs and from their domain types."""

from typing import Final

import msgspec

from carts.operations import Change
from carts.state import State, Version
from carts.view import CartView, view

CartChanged = Change
"""The value of a `cart-changed` record."""


PURGE_FLOOR_KEY: Final = b"!purge-floor"
"""The key of a partition's PurgeFloor record in `carts`; no cart id can look like it."""


class CartRecord(CartView, frozen=True, kw_only=True):
    """The value of a `carts` record: the reader's view of a cart and, for recovery, its whole state."""

    state: State


class PurgeFloor(msgspec.Struct, frozen=True):
    """The reserved `carts` record of a partition: the highest version ever deleted in it."""

    purge_floor: int


class DeadLetterHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """The headers of a dead letter, as text; its key and value are those of the source record, byte for byte.

    The headers of the source record are kept beside them. `error_code` is one of a fixed set per app, `error`
    a sentence, `app` the consumer group that gave up.
    """

    error_code: str
    error: str
    app: str
    source_topic: str
    source_partition: int
    source_offset: int


def cart_record(cart_id: str, state: State) -> CartRecord:
    """The `carts` record of `state`."""
    seen = view(cart_id, state)
    return CartRecord(**{name: getattr(seen, name) for name in seen.__struct_fields__}, state=state)


def version_of(record: CartRecord) -> Version:
    """The version of the record's state."""
    return record.state.version
