"""The HTTP routes of guests: a cart of one's own, and the token that proves it."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from gateway.carts.commands import CommandStep
from gateway.carts.problems import too_old
from gateway.carts.reading import EMPTY_VERSION, ChangedCarts
from gateway.carts.requests import MINT_CART, MintCart, mint_cart, mint_command, minting_key
from gateway.carts.responses import change_headers
from gateway.carts.service import CartService
from gateway.carts.shown import ShownCart
from gateway.http import problems
from gateway.http.problems import Problem
from gateway.http.requests import cart_id_in, optional_body, single_of
from gateway.http.responses import json_response
from gateway.http.routing import route
from gateway.identity import openapi
from gateway.identity.access import Access
from gateway.identity.callers import CART_TOKEN, bearer_token
from gateway.identity.guard import caller_of, cart_not_found
from gateway.identity.guest_tokens import GuestToken, GuestTokens
from gateway.identity.requests import GuestCart, MintedCart
from gateway.rates.service import Rates


class GuestRoutes:
    """Handlers of one app."""

    def __init__(
        self, guests: GuestTokens, carts: CartService, changed_carts: ChangedCarts, rates: Rates
    ) -> None:
        self._guests: Final = guests
        self._carts: Final = carts
        self._changed_carts: Final = changed_carts
        self._rates: Final = rates

    @route("POST", "/v1/carts", Access.PUBLIC, openapi.MINT)
    async def mint(self, request: Request) -> HTTPResponse:
        """A new guest cart and its token. An empty cart is stored nowhere: it needs no place."""
        self._rates.check_mint(request, caller_of(request))
        steps = mint_cart(optional_body(request, MINT_CART, MintCart()))
        if steps:
            return await self._mint_with(request, steps)
        if (key := single_of(request.headers, "idempotency-key")) is not None:
            minting_key(key)  # there is nothing to do twice, but a key that is none is none here, too
        minted = self._guests.mint()
        headers = {"location": f"/v1/carts/{minted.cart_id}", "etag": f'"{EMPTY_VERSION}"'}
        return json_response(_document(minted), 201, headers)

    async def _mint_with(self, request: Request, steps: tuple[CommandStep, ...]) -> HTTPResponse:
        key = single_of(request.headers, "idempotency-key")
        minted = self._guests.mint() if key is None else self._guests.mint_again(minting_key(key))
        command = mint_command(request, minted.cart_id, steps)
        try:
            changed = await self._carts.change(command)
        except Problem as problem:
            if problem.kind is problems.PRECONDITION_FAILED:
                raise too_old() from problem  # the cart of this key has been written before, and not just now
            raise
        headers = {"location": f"/v1/carts/{minted.cart_id}", "etag": f'"{changed.outcome.version.tag()}"'}
        headers |= {
            name.decode(): value.decode() for name, value in change_headers(changed, command.preferences)
        }
        document = _document(minted)
        if changed.outcome.cart is not None:
            shown = await self._changed_carts.shown(changed.outcome.cart)
            headers["etag"] = f'"{shown.tag}"'
            document = MintedCart(
                **msgspec.structs.asdict(document), cart=msgspec.json.decode(shown.body, type=ShownCart)
            )
        return json_response(document, 201, headers)

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
        return json_response(_document(renewed))


def _document(token: GuestToken) -> GuestCart:
    return GuestCart(token.cart_id, token.token, datetime.fromtimestamp(token.expires_at, UTC))
