"""What is said about guest carts over HTTP."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from gateway.carts.shown import ShownCart


class GuestCart(msgspec.Struct, frozen=True):
    """A guest cart: its id, which proves nothing, and the token that proves it until then: keep it secret."""

    cart_id: str
    token: str
    expires_at: datetime


class MintedCart(GuestCart, frozen=True):
    """A new guest cart; with the cart itself where it was minted with something in it."""

    cart: ShownCart | UnsetType = UNSET
