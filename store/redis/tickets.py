"""One-use tickets: whoever has one may do one thing with one cart, once, for a short time."""

import hashlib
import re
import secrets
import time
from typing import Final

import msgspec

from store.redis.client import PipelinedClient
from topics.names import IN_REDIS

_BYTES: Final = 24
_TICKET: Final = re.compile(r"[A-Za-z0-9_-]{32}")


class Ticket(msgspec.Struct, frozen=True):
    """A ticket, and until when it is good, in Unix seconds."""

    ticket: str
    expires_at: float


class Tickets:
    """Issues and takes tickets. Redis has a hash of each: who reads Redis holds no ticket."""

    def __init__(self, client: PipelinedClient, lifetime_s: float) -> None:
        self._client: Final = client
        self._lifetime_s: Final = lifetime_s

    async def issue(self, cart_id: str) -> Ticket:
        """A ticket for the cart. Raises StoreError."""
        ticket = secrets.token_urlsafe(_BYTES)
        await self._client.execute(b"SET", _key(ticket), cart_id, b"PX", round(self._lifetime_s * 1000))
        return Ticket(ticket, time.time() + self._lifetime_s)

    async def take(self, ticket: str) -> str | None:
        """The cart that the ticket is for; None: it was never issued, was used, or has expired.

        Raises StoreError; after UnknownOutcome the ticket may be used up.
        """
        return await self._cart_of(b"GETDEL", ticket)

    async def look_at(self, ticket: str) -> str | None:
        """As `take`, but the ticket can still be used."""
        return await self._cart_of(b"GET", ticket)

    async def _cart_of(self, command: bytes, ticket: str) -> str | None:
        if not _TICKET.fullmatch(ticket):
            return None
        cart_id: bytes | None = await self._client.execute(command, _key(ticket))
        return None if cart_id is None else cart_id.decode()


def _key(ticket: str) -> str:
    return f"{IN_REDIS}ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
