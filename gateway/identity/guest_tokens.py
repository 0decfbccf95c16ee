"""Guest tokens: minted and signed here, checked without a look anywhere.

A token is `g1.<secret>.<expiry>.<signature>`: 18 random bytes in base64url, Unix seconds in decimal, and
HMAC-SHA256 of what stands before, in base64url. The cart's id is a hash of the secret: it stands in Kafka,
rows, orders and logs, and proves nothing.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

PREFIX: Final = "g1."
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
        return self._sign(_text(secrets.token_bytes(_SECRET_BYTES)))

    def mint_again(self, key: str) -> GuestToken:
        """A token for the cart that belongs to an Idempotency-Key, which nobody else may be able to guess."""
        digest = hmac.digest(self._keys[0], b"mint\0" + key.encode(), "sha256")
        return self._sign(_text(digest[:_SECRET_BYTES]))

    def renew(self, token: str) -> GuestToken | None:
        """A token for the same cart with its whole lifetime ahead; None for one that is no longer valid."""
        return None if self.check(token) is None else self._sign(token.split(".")[1])

    def check(self, token: str) -> GuestToken | None:
        """The token, if it was signed here and has not expired."""
        parts = token.split(".")
        if not token.isascii() or len(parts) != _PARTS or f"{parts[0]}." != PREFIX:
            return None
        signed, _, signature = token.rpartition(".")
        if not any(hmac.compare_digest(_signature(key, signed), signature) for key in self._keys):
            return None
        _, secret, expiry, _ = parts  # as they were signed: well-formed
        if int(expiry) <= self._clock():
            return None
        return GuestToken(token, _cart_id(secret), int(expiry))

    def _sign(self, secret: str) -> GuestToken:
        expires_at = int(self._clock()) + self._lifetime_s
        signed = f"{PREFIX}{secret}.{expires_at}"
        return GuestToken(f"{signed}.{_signature(self._keys[0], signed)}", _cart_id(secret), expires_at)


class Sessions:
    """The carts of a monolith's sessions: a session id is a proof, too, and never leaves the request."""

    def __init__(self, key: str) -> None:
        self._key: Final = key.encode()

    def cart_id(self, session_id: str) -> str:
        """The guest cart of a session: HMAC-SHA256 of the session id under the configured key."""
        # Sanic hands on the bytes of a header that are no UTF-8 as lone surrogates.
        secret = session_id.encode(errors="surrogateescape")
        digest = hmac.digest(self._key, b"session\0" + secret, "sha256")
        return f"guest:{_text(digest[:_ID_BYTES])}"


def _cart_id(secret: str) -> str:
    digest = hashlib.sha256(b"cartstream guest cart\0" + secret.encode()).digest()
    return f"guest:{_text(digest[:_ID_BYTES])}"


def _signature(key: bytes, signed: str) -> str:
    return _text(hmac.digest(key, signed.encode(), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
