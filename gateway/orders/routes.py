"""The HTTP routes of orders."""

from typing import Any, Final

import msgspec
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from gateway.http.requests import cart_id_in, number_in
from gateway.orders.service import OrderService

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
_MAX_SEQ: Final = 2**31 - 1
_encoder: Final = msgspec.json.Encoder()


class OrderRoutes:
    """Handlers of one app; `register` puts them into its router."""

    def __init__(self, service: OrderService) -> None:
        self._service = service

    def register(self, app: Sanic[Any, Any]) -> None:
        """Add all routes of orders to `app`."""
        order = "/v1/orders/<order_id:str>"
        app.add_route(self.read, order, methods=["GET", "HEAD"], name="orders.read")
        app.add_route(self.cancel, f"{order}/cancel", methods=["POST"], name="orders.cancel")
        app.add_route(
            self.of_cart, "/v1/carts/<cart_id:str>/orders", methods=["GET", "HEAD"], name="orders.of_cart"
        )

    async def read(self, _: Request, order_id: str) -> HTTPResponse:
        """The order as it is now."""
        return _json(await self._service.find(order_id))

    async def of_cart(self, request: Request, cart_id: str) -> HTTPResponse:
        """The cart's orders, newest first, in pages."""
        name = cart_id_in(cart_id)
        before = number_in(request, "cursor", None, _MAX_SEQ)
        limit = number_in(request, "limit", DEFAULT_LIMIT, MAX_LIMIT) or DEFAULT_LIMIT
        return _json(await self._service.of_cart(name, before, limit))

    async def cancel(self, _: Request, order_id: str) -> HTTPResponse:
        """Cancel the order; one that is cancelled already stays so."""
        return _json(await self._service.cancel(order_id))


def _json(document: msgspec.Struct) -> HTTPResponse:
    return HTTPResponse(
        _encoder.encode(document),
        content_type="application/json",
        headers={"cache-control": "private, no-store"},
    )
