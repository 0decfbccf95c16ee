"""The HTTP routes of the history of carts; a cart as it was is `GET /v1/carts/{cart_id}?at=`."""

from sanic import Request
from sanic.response import HTTPResponse

from gateway.history import openapi
from gateway.history.requests import page_of
from gateway.history.service import CartHistory
from gateway.http.requests import cart_id_in
from gateway.http.responses import json_response
from gateway.http.routing import route
from gateway.identity.access import Access


class HistoryRoutes:
    """Handlers of one app."""

    def __init__(self, history: CartHistory) -> None:
        self._history = history

    @route("GET", "/v1/carts/{cart_id}/history", Access.CART, openapi.READ)
    async def read(self, request: Request, cart_id: str) -> HTTPResponse:
        """The cart's operations, newest first, in pages."""
        name = cart_id_in(cart_id)
        position, limit = page_of(request)
        return json_response(await self._history.page(name, position, limit))
