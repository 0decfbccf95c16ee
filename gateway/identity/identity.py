"""Everything about who calls, made from the settings."""

from typing import Final

from gateway.identity.callers import KnownCallers
from gateway.identity.guard import Guard, OpenGuard, ProofGuard
from gateway.identity.guest_tokens import GuestTokens, Sessions
from gateway.identity.jwt_keys import FileKey, Keys, PublishedKeys, SecretKey
from gateway.identity.jwt_tokens import JwtTokens
from gateway.identity.settings import IdentitySettings, Mode
from gateway.rates.service import Rates
from store.redis import Tickets


class Identity:
    """The guard before the routes, and what proves guests' carts: tokens, and sessions where they do."""

    def __init__(
        self, settings: IdentitySettings, tickets: Tickets, rates: Rates, *, orders_elsewhere: bool
    ) -> None:
        """Raises ValueError for a key file that holds no key."""
        self.guests: Final = GuestTokens(settings.guest_keys, settings.guest_token_lifetime_s)
        self.sessions: Final = (
            None if settings.session_key is None else Sessions(settings.session_key.get_secret_value())
        )
        self._published: Final = (
            PublishedKeys(settings.jwt_jwks_url, settings.jwt_jwks_refresh_s)
            if settings.jwt_jwks_url
            else None
        )
        self.guard: Final[Guard] = (
            OpenGuard()
            if settings.mode is Mode.DEVELOPMENT
            else self._proof_guard(settings, tickets, rates, orders_elsewhere=orders_elsewhere)
        )

    async def open(self) -> None:
        """Read published keys, in the loop that serves; the gateway starts without them if need be."""
        if self._published is not None:
            await self._published.open()

    async def close(self) -> None:
        """Stop reading them."""
        if self._published is not None:
            await self._published.close()

    def _proof_guard(
        self, settings: IdentitySettings, tickets: Tickets, rates: Rates, *, orders_elsewhere: bool
    ) -> ProofGuard:
        keys: list[Keys] = [] if self._published is None else [self._published]
        if settings.jwt_secret is not None:
            keys.append(SecretKey(settings.jwt_secret.get_secret_value()))
        if settings.jwt_public_key_file is not None:
            keys.append(FileKey(settings.jwt_public_key_file))
        jwts = JwtTokens(
            keys,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            leeway_s=settings.jwt_leeway_s,
        )
        callers = KnownCallers(self.guests, jwts, self.sessions)
        return ProofGuard(callers, tickets, rates, settings.session_cookie, orders_elsewhere=orders_elsewhere)
