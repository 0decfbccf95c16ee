"""The HTTP routes of orders."""

from sanic import Request
from sanic.response import HTTPResponse

from gateway.http.requests import cart_id_in
from gateway.http.responses import json_response
from gateway.http.routing import route
from gateway.identity.access import Access
from gateway.identity.guard import caller_of
from gateway.orders import openapi
from gateway.orders.requests import page_of
from gateway.orders.service import OrderService
from gateway.server.admission import Priority


class OrderRoutes:
    """Handlers of one app."""

    def __init__(self, service: OrderService) -> None:
        self._service = service

    @route("GET", "/v1/orders/{order_id}", Access.ORDER, openapi.READ)
    async def read(self, request: Request, order_id: str) -> HTTPResponse:
        """The order as it is now."""
        return json_response(await self._service.find(order_id, caller_of(request)))

    @route("GET", "/v1/carts/{cart_id}/orders", Access.ORDERS, openapi.LIST)
    async def of_cart(self, request: Request, cart_id: str) -> HTTPResponse:
        """The cart's orders, newest first, in pages."""
        name = cart_id_in(cart_id)
        before, limit = page_of(request)
        return json_response(await self._service.of_cart(name, before, limit))

    @route("POST", "/v1/orders/{order_id}/cancel", Access.ORDER, openapi.CANCEL, priority=Priority.ALWAYS)
    async def cancel(self, request: Request, order_id: str) -> HTTPResponse:
        """Cancel the order; a cancelled one stays as it is."""
        return json_response(await self._service.cancel(order_id, caller_of(request)))
