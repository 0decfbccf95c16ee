"""What is said about links over HTTP."""

from datetime import datetime

import msgspec


class RecoveredCart(msgspec.Struct, frozen=True):
    """Where a link leads: the cart, and for a guest's cart a token that proves it until then.

    A user's cart has no token: its shopper logs in.
    """

    cart_id: str
    cart: str
    """The cart's address."""
    token: str | None = None
    expires_at: datetime | None = None
