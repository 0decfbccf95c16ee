"""The HTTP routes of guests: a cart of one's own, and the token that proves it."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from carts.state import Version
from gateway.http import problems
from gateway.http.problems import Problem
from gateway.http.requests import cart_id_in
from gateway.http.routing import route
from gateway.identity import openapi
from gateway.identity.access import Access
from gateway.identity.callers import CART_TOKEN, bearer_token
from gateway.identity.guard import cart_not_found
from gateway.identity.guest_tokens import GuestToken, GuestTokens
from gateway.identity.requests import GuestCart

_EMPTY_TAG: Final = Version().tag()


class GuestRoutes:
    """Handlers of one app."""

    def __init__(self, guests: GuestTokens) -> None:
        self._guests: Final = guests

    @route("POST", "/v1/carts", Access.PUBLIC, openapi.MINT)
    async def mint(self, _: Request) -> HTTPResponse:
        """A new guest cart and its token. Nothing is stored: an empty cart needs no place."""
        minted = self._guests.mint()
        return _guest_cart(
            minted, 201, {"location": f"/v1/carts/{minted.cart_id}", "etag": f'"{_EMPTY_TAG}"'}
        )

    @route("POST", "/v1/carts/{cart_id}/token", Access.CART, openapi.RENEW)
    async def renew(self, request: Request, cart_id: str) -> HTTPResponse:
        """A token for the same cart, good for its whole lifetime again."""
        authorization = request.headers.get("authorization")
        token = request.headers.get(CART_TOKEN) or (authorization and bearer_token(authorization))
        renewed = self._guests.renew(token) if token else None
        if renewed is None:
            raise Problem(
                problems.CART_NOT_FOUND,
                "Only a guest token can be renewed: send it, as Bearer or as Cart-Token, before it expires.",
            )
        if renewed.cart_id != cart_id_in(cart_id):
            raise cart_not_found()
        return _guest_cart(renewed, 200, {})


def _guest_cart(token: GuestToken, status: int, headers: dict[str, str]) -> HTTPResponse:
    expires_at = datetime.fromtimestamp(token.expires_at, UTC)
    return HTTPResponse(
        msgspec.json.encode(GuestCart(token.cart_id, token.token, expires_at)),
        status=status,
        content_type="application/json",
        headers={"cache-control": "private, no-store", **headers},
    )
