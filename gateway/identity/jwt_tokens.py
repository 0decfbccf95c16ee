"""Shoppers' and services' tokens: JWTs (RFC 7519) signed by the shop's login, checked without waiting."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import jwt
import msgspec

from carts.errors import InvalidIdentifier
from carts.ids import to_cart_id
from gateway.identity.jwt_keys import Keys
from gateway.identity.principal import Kind, Principal, Scope

_REMEMBERED: Final = 10_000
"""Tokens whose signature has been checked; checking one costs as much as reading a cart."""


class InvalidToken(Exception):
    """A token that proves nothing; the message tells its holder why, and gives nothing away."""


class _Checked(msgspec.Struct, frozen=True):
    """A token whose signature has been checked with a key; `expires_at` in Unix seconds."""

    principal: Principal
    expires_at: int
    algorithm: str
    key_id: str | None
    key: Any


class JwtTokens:
    """Turns a JWT into the caller it stands for."""

    def __init__(
        self, keys: Sequence[Keys], *, issuer: str | None, audience: str | None, leeway_s: float
    ) -> None:
        self._keys: Final = keys
        self._issuer: Final = issuer
        self._audience: Final = audience
        self._leeway_s: Final = leeway_s
        self._checked: Final[OrderedDict[bytes, _Checked]] = OrderedDict()

    def principal(self, token: str) -> Principal:
        """The shopper `user:<sub>`, or the service whose scopes the token has. Raises InvalidToken."""
        if not token.isascii():
            raise _no_token()
        # Not the token itself: it may have kilobytes.
        digest = hashlib.sha256(token.encode()).digest()
        checked = self._checked.get(digest)
        if checked is None or not self._is_still_good(checked):
            checked = self._checked[digest] = self._check(token)
            if len(self._checked) > _REMEMBERED:
                self._checked.popitem(last=False)
        return checked.principal

    def _is_still_good(self, checked: _Checked) -> bool:
        """Whether it has not expired, and its key has not been withdrawn."""
        is_good = time.time() - self._leeway_s < checked.expires_at
        return is_good and self._key(checked.algorithm, checked.key_id) is checked.key

    def _key(self, algorithm: str, key_id: str | None) -> Any | None:
        found = (keys.find(algorithm, key_id) for keys in self._keys)
        return next((key for key in found if key is not None), None)

    def _check(self, token: str) -> _Checked:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise _no_token() from None
        algorithm, key_id = str(header.get("alg")), header.get("kid")
        key = self._key(algorithm, key_id)
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
        return _Checked(_principal(claims), int(claims["exp"]), algorithm, key_id, key)


def _no_token() -> InvalidToken:
    return InvalidToken("it is neither a JWT nor a guest token of this shop")


def _principal(claims: dict[str, Any]) -> Principal:
    try:
        cart_id = to_cart_id(f"user:{claims['sub']}")
    except InvalidIdentifier as error:
        raise InvalidToken(f"its sub is no usable id: {error.advice}") from None
    scopes = _scopes(claims.get("scope"))
    if scopes:
        return Principal(Kind.SERVICE, scopes=scopes, actor=f"service:{cart_id.removeprefix('user:')}")
    return Principal(Kind.SHOPPER, carts=(cart_id,), actor=cart_id)


def _scopes(claim: Any) -> frozenset[Scope]:
    """The scopes of this product in a claim: words in one string (RFC 8693) or a list of them."""
    words = claim.split(" ") if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return frozenset(scope for scope in Scope if scope in words)
