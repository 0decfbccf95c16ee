"""The responses of the routes of carts."""

from functools import lru_cache
from typing import Final

from sanic.response import HTTPResponse

from gateway.carts.reading import CartDocument
from gateway.carts.service import Changed
from gateway.history.service import PastCart
from gateway.http.conditions import Preferences
from gateway.http.responses import Header, document_response, json_response, kept_response
from store.redis import Replayed

_STALE: Final = (b"cart-freshness", b"stale")
_REPLAYED: Final = (b"idempotency-replayed", b"true")


def cart_read(found: CartDocument) -> HTTPResponse:
    """200: the cart."""
    return kept_response(found.body, found.tag, [_STALE] if found.stale else [])


def past_cart(found: PastCart) -> HTTPResponse:
    """200: the cart as it was; without an ETag, for no change can be made on it."""
    return json_response(found.cart, headers={"cart-at": str(found.version)})


def cart_changed(changed: Changed, preferences: Preferences, shown: CartDocument | None) -> HTTPResponse:
    """200 with the cart after the change as it is `shown`, or 204 where the caller prefers that."""
    headers = change_headers(changed, preferences)
    if shown is None:
        return document_response(None, changed.outcome.version.tag(), headers)
    return document_response(shown.body, shown.tag, headers)


def change_headers(changed: Changed, preferences: Preferences) -> list[Header]:
    """How far the change got, where its record stands, whether it had been made before."""
    headers = [_preference_applied(changed.durability, preferences.strict, preferences.minimal)]
    if changed.receipt is not None:
        headers.append((b"cart-receipt", changed.receipt.encode()))
    if isinstance(changed.outcome, Replayed):
        headers.append(_REPLAYED)
    return headers


@lru_cache
def _preference_applied(durability: str, strict: bool, minimal: bool) -> Header:  # noqa: FBT001  lru_cache
    """The durability reached and the other preferences applied (RFC 7240)."""
    others = (", handling=strict" if strict else "") + (", return=minimal" if minimal else "")
    return b"preference-applied", f"durability={durability}{others}".encode()
