"""Shoppers' and services' tokens: JWTs (RFC 7519) signed by the shop's login, checked without waiting."""

import time
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import jwt

from carts.errors import InvalidIdentifier
from carts.ids import check_cart_id
from gateway.identity.jwt_keys import Keys
from gateway.identity.principal import Kind, Principal, Scope

_REMEMBERED: Final = 10_000
"""Tokens whose signature has been checked; checking one costs as much as reading a cart."""


class InvalidToken(Exception):
    """A token that proves nothing; the message tells its holder why, and gives nothing away."""


class JwtTokens:
    """Turns a JWT into the caller it stands for."""

    def __init__(
        self, keys: Sequence[Keys], *, issuer: str | None, audience: str | None, leeway_s: float
    ) -> None:
        self._keys: Final = keys
        self._issuer: Final = issuer
        self._audience: Final = audience
        self._leeway_s: Final = leeway_s
        self._known: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    def principal(self, token: str) -> Principal:
        """The shopper `user:<sub>`, or the service whose scopes the token has. Raises InvalidToken."""
        known = self._known.get(token)
        if known is not None and time.time() < known[1]:
            return known[0]
        claims = self._claims(token)
        found = _principal(claims)
        self._known[token] = found, float(claims["exp"]) + self._leeway_s
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise InvalidToken("it is neither a JWT nor a guest token of this shop") from None
        algorithm, key_id = str(header.get("alg")), header.get("kid")
        found = (keys.find(algorithm, key_id) for keys in self._keys)
        key = next((key for key in found if key is not None), None)
        if key is None:
            raise InvalidToken(f"no key is known for its header (alg {algorithm[:20]!r})")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway_s,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
            )
        except jwt.ExpiredSignatureError:
            raise InvalidToken("it has expired") from None
        except jwt.PyJWTError as error:
            raise InvalidToken(f"it is not valid ({type(error).__name__})") from None
        return claims


def _principal(claims: dict[str, Any]) -> Principal:
    subject = unicodedata.normalize("NFC", claims["sub"])
    scopes = _scopes(claims.get("scope"))
    if scopes:
        return Principal(Kind.SERVICE, scopes=scopes, actor=f"service:{subject}")
    try:
        cart_id = check_cart_id(f"user:{subject}")
    except InvalidIdentifier as error:
        raise InvalidToken(f"its sub is no usable id: {error.advice}") from None
    return Principal(Kind.SHOPPER, carts=(cart_id,), actor=cart_id)


def _scopes(claim: Any) -> frozenset[Scope]:
    """The scopes of this product in a claim: words in one string (RFC 8693) or a list of them."""
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return frozenset(Scope(word) for word in words if word in set(Scope))
