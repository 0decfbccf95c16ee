"""The HTTP routes of live carts."""

from datetime import UTC, datetime
from typing import Final

from sanic import Request
from sanic.response import HTTPResponse

from gateway.carts.routes import CART
from gateway.http.requests import cart_id_in
from gateway.http.responses import json_response
from gateway.http.routing import route
from gateway.identity.access import Access
from gateway.live import openapi
from gateway.live.delivery import Delivery
from gateway.live.requests import StreamTicket
from gateway.live.service import LiveCarts
from store.redis import Tickets

LAST_EVENT_ID: Final = "last_event_id"


class LiveRoutes:
    """Handlers of one app."""

    def __init__(self, live: LiveCarts, delivery: Delivery, tickets: Tickets) -> None:
        self._live: Final = live
        self._delivery: Final = delivery
        self._tickets: Final = tickets

    @route("GET", f"{CART}/stream", Access.CART_STREAM, openapi.STREAM)
    async def stream(self, request: Request, cart_id: str) -> None:
        """The cart now, and again whenever it has changed, as server-sent events; HEAD begins none."""
        if request.method == "HEAD":
            await self._delivery.head(request)
            return
        last = request.headers.get("last-event-id") or request.args.get(LAST_EVENT_ID)
        with self._live.stream(cart_id_in(cart_id), last) as stream:
            await self._delivery.deliver(request, stream)

    @route("POST", f"{CART}/stream-tickets", Access.CART, openapi.ISSUE_TICKET)
    async def issue_ticket(self, _: Request, cart_id: str) -> HTTPResponse:
        """A ticket that opens one stream of the cart, for callers that cannot send headers with it."""
        issued = await self._tickets.issue(cart_id_in(cart_id))
        ticket = StreamTicket(issued.ticket, datetime.fromtimestamp(issued.expires_at, UTC))
        return json_response(ticket, 201)
