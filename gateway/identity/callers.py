"""Finds out who calls, from the headers and cookies of a request."""

from typing import Final, Protocol

import msgspec

from carts.errors import InvalidIdentifier
from carts.ids import to_cart_id
from gateway.identity.guest_tokens import PREFIXES, GuestTokens, Sessions
from gateway.identity.jwt_tokens import InvalidToken, JwtTokens
from gateway.identity.principal import ANONYMOUS, OPEN, Kind, Principal

CART_TOKEN: Final = "cart-token"  # noqa: S105  the name of a header
"""A guest token beside a shopper's JWT: the shopper may then use that guest cart, too."""
CART_SESSION: Final = "cart-session"
ACTING_FOR: Final = "acting-for"
_BEARER: Final = "bearer "
_MAX_SESSION: Final = 512


class Presented(msgspec.Struct, frozen=True):
    """What a request presents, all as it came; none: not there."""

    authorization: str | None = None
    cart_token: str | None = None
    session: str | None = None
    acting_for: str | None = None


class Callers(Protocol):
    """Tells who calls."""

    def identify(self, presented: Presented) -> Principal:
        """The caller. Raises InvalidToken for a proof that proves nothing."""
        ...


class OpenCallers:
    """Development mode: nobody is asked."""

    def identify(self, _: Presented) -> Principal:
        """Everybody may do everything."""
        return OPEN


class KnownCallers:
    """Production mode: what is presented must prove something; without anything a caller is anonymous."""

    def __init__(self, guests: GuestTokens, jwts: JwtTokens, sessions: Sessions | None) -> None:
        self._guests: Final = guests
        self._jwts: Final = jwts
        self._sessions: Final = sessions

    def identify(self, presented: Presented) -> Principal:
        """The bearer of the token, with the guest carts that token and session prove beside it."""
        principal = ANONYMOUS
        if presented.authorization is not None:
            principal = self._bearer(presented.authorization)
        guests = [*self._guest(presented.cart_token), *self._session(presented.session)]
        if guests and principal.kind is Kind.ANONYMOUS:
            principal = Principal(Kind.GUEST, carts=tuple(guests), actor=guests[0])
        elif guests and principal.kind is not Kind.SERVICE:
            principal = msgspec.structs.replace(principal, carts=(*principal.carts, *guests))
        if presented.acting_for is not None and principal.kind is Kind.SERVICE:
            principal = _acting_for(principal, presented.acting_for)
        return principal

    def _bearer(self, authorization: str) -> Principal:
        token = bearer_token(authorization)
        if token is None:
            raise InvalidToken("send `Authorization: Bearer <token>`")
        if token.startswith(PREFIXES):
            (cart_id,) = self._guest(token)
            return Principal(Kind.GUEST, carts=(cart_id,), actor=cart_id)
        return self._jwts.principal(token)

    def _guest(self, token: str | None) -> list[str]:
        if token is None:
            return []
        found = self._guests.check(token)
        if found is None:
            raise InvalidToken("the guest token is not of this shop, or has expired")
        return [found.cart_id]

    def _session(self, session: str | None) -> list[str]:
        if self._sessions is None or not session or len(session) > _MAX_SESSION:
            return []
        return [self._sessions.cart_id(session)]


def bearer_token(authorization: str) -> str | None:
    """The token in an Authorization header (RFC 6750), None in another kind of one."""
    is_bearer = authorization[: len(_BEARER)].lower() == _BEARER
    return authorization[len(_BEARER) :].strip() if is_bearer else None


def _acting_for(service: Principal, cart_id: str) -> Principal:
    try:
        name = to_cart_id(cart_id)
    except InvalidIdentifier as error:
        raise InvalidToken(f"Acting-For names nobody: {error.advice}") from None
    return msgspec.structs.replace(service, actor=f"{service.actor} for {name}")
