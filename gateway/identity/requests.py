"""What is said about guest carts over HTTP."""

from datetime import datetime

import msgspec


class GuestCart(msgspec.Struct, frozen=True):
    """A guest cart: its id, which proves nothing, and the token that proves it until then: keep it secret."""

    cart_id: str
    token: str
    expires_at: datetime
