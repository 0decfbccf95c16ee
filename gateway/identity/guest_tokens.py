"""Guest tokens: minted and signed here, checked without a look anywhere.

A token is `g1.<secret>.<expiry>.<signature>`: 18 random bytes in base64url, Unix seconds in decimal, and
HMAC-SHA256 of what stands before, in base64url. The cart's id is a hash of the secret: it stands in Kafka,
rows, orders and logs, and proves nothing. A token out of a link to a cart left behind, whose secret nobody
has any more, is `g2.<cart id>.<expiry>.<signature>`, the id without `guest:` in base64url.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from carts.lifetime import GUEST_PREFIX
from runtime.keys import bytes_of, is_signed, signature_of, text_of

PREFIXES: Final = ("g1.", "g2.")
_OF_SECRET, _OF_CART = PREFIXES
_SECRET_BYTES: Final = 18
_ID_BYTES: Final = 18
_PARTS: Final = 4


class GuestToken(msgspec.Struct, frozen=True):
    """A token, the cart it proves, and until when, in Unix seconds."""

    token: str
    cart_id: str
    expires_at: int


class GuestTokens:
    """Mints, renews and checks guest tokens. The first key signs, all are accepted: so keys can rotate."""

    def __init__(self, keys: Sequence[str], lifetime_s: int, clock: Callable[[], float] = time.time) -> None:
        self._keys: Final = [key.encode() for key in keys]
        self._lifetime_s: Final = lifetime_s
        self._clock: Final = clock

    def mint(self) -> GuestToken:
        """A token for a new cart."""
        return self._sign(_OF_SECRET, text_of(secrets.token_bytes(_SECRET_BYTES)))

    def mint_again(self, key: str) -> GuestToken:
        """A token for the cart that belongs to an Idempotency-Key, which nobody else may be able to guess."""
        digest = hmac.digest(self._keys[0], b"mint\0" + key.encode(), "sha256")
        return self._sign(_OF_SECRET, text_of(digest[:_SECRET_BYTES]))

    def mint_for(self, cart_id: str) -> GuestToken:
        """A token for a guest's cart that is there. Only for who has proven the right to it otherwise."""
        return self._sign(_OF_CART, text_of(cart_id.removeprefix(GUEST_PREFIX).encode()))

    def renew(self, token: str) -> GuestToken | None:
        """A token for the same cart with its whole lifetime ahead; None for one that is no longer valid."""
        if self.check(token) is None:
            return None
        prefix, name, _, _ = token.split(".")
        return self._sign(f"{prefix}.", name)

    def check(self, token: str) -> GuestToken | None:
        """The token, if it was signed here and has not expired."""
        parts = token.split(".")
        if len(parts) != _PARTS or f"{parts[0]}." not in PREFIXES or not is_signed(token, self._keys):
            return None
        prefix, name, expiry, _ = parts  # as they were signed: well-formed
        if int(expiry) <= self._clock():
            return None
        return GuestToken(token, _cart_id(f"{prefix}.", name), int(expiry))

    def _sign(self, prefix: str, name: str) -> GuestToken:
        expires_at = int(self._clock()) + self._lifetime_s
        signed = f"{prefix}{name}.{expires_at}"
        token = f"{signed}.{signature_of(self._keys[0], signed)}"
        return GuestToken(token, _cart_id(prefix, name), expires_at)


class Sessions:
    """The carts of a monolith's sessions: a session id is a proof, too, and never leaves the request."""

    def __init__(self, key: str) -> None:
        self._key: Final = key.encode()

    def cart_id(self, session_id: str) -> str:
        """The guest cart of a session: HMAC-SHA256 of the session id under the configured key."""
        # Sanic hands on the bytes of a header that are no UTF-8 as lone surrogates.
        secret = session_id.encode(errors="surrogateescape")
        digest = hmac.digest(self._key, b"session\0" + secret, "sha256")
        return f"{GUEST_PREFIX}{text_of(digest[:_ID_BYTES])}"


def _cart_id(prefix: str, name: str) -> str:
    if prefix == _OF_CART:
        return f"{GUEST_PREFIX}{bytes_of(name).decode()}"
    digest = hashlib.sha256(b"cartstream guest cart\0" + name.encode()).digest()
    return f"{GUEST_PREFIX}{text_of(digest[:_ID_BYTES])}"
