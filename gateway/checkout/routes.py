"""The HTTP routes of checkouts: parse, hand to whoever turns carts into orders, answer."""

from typing import Final

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from carts.ids import is_order_id
from gateway.checkout import openapi
from gateway.checkout.external import Handover
from gateway.checkout.internal import Asked, OrderPlacer
from gateway.checkout.problems import checkout_not_found
from gateway.checkout.requests import (
    COMPLETE_CHECKOUT,
    PLACE_ORDER,
    CompleteCheckout,
    PlaceOrder,
    check,
    document,
)
from gateway.http import problems
from gateway.http.conditions import parse_idempotency_key
from gateway.http.problems import Problem
from gateway.http.requests import cart_id_in, optional_body
from gateway.http.routing import route
from gateway.metrics import Metrics
from store.postgres.order_records import Checkout

_encoder: Final = msgspec.json.Encoder()

Checkouts = OrderPlacer | Handover
"""Who turns carts into orders: this system, or another one."""


class CheckoutRoutes:
    """Handlers of one app."""

    def __init__(self, checkouts: Checkouts, metrics: Metrics) -> None:
        self._checkouts = checkouts
        self._outcomes = metrics.checkouts
        self._seconds = metrics.checkout_seconds

    @route("POST", "/v1/carts/{cart_id}/checkout", openapi.CHECK_OUT)
    async def check_out(self, request: Request, cart_id: str) -> HTTPResponse:
        """Place an order; where orders are kept elsewhere, hand out a token and the lines."""
        name = cart_id_in(cart_id)
        body = optional_body(request, PLACE_ORDER, PlaceOrder())
        check(body)
        if isinstance(self._checkouts, Handover):
            with self._seconds.time():
                checkout, is_new = await self._checkouts.open(name)
            self._outcomes.labels("opened" if is_new else "joined").inc()
            return _checkout(checkout, 201 if is_new else 200)
        asked = Asked(name, _key(request), body)
        with self._seconds.time():
            placed = await self._checkouts.place(asked)
        self._outcomes.labels("replayed" if placed.replayed else "placed").inc()
        headers = {"location": f"/v1/orders/{placed.record.order_id}"}
        if placed.replayed:
            headers["idempotency-replayed"] = "true"
        return _json(_encoder.encode(placed.record), 201, headers)

    @route("POST", "/v1/carts/{cart_id}/checkout/{token}/complete", openapi.COMPLETE)
    async def complete(self, request: Request, cart_id: str, token: str) -> HTTPResponse:
        """The owner of orders has sold what was handed out."""
        body = optional_body(request, COMPLETE_CHECKOUT, CompleteCheckout())
        name = cart_id_in(cart_id)
        completed = await self._handover(token).complete(name, token, body.order_id)
        self._outcomes.labels("completed").inc()
        return _checkout(completed, 200)

    @route("POST", "/v1/carts/{cart_id}/checkout/{token}/cancel", openapi.CANCEL)
    async def cancel(self, _: Request, cart_id: str, token: str) -> HTTPResponse:
        """The checkout came to nothing."""
        name = cart_id_in(cart_id)
        cancelled = await self._handover(token).cancel(name, token)
        self._outcomes.labels("cancelled").inc()
        return _checkout(cancelled, 200)

    def _handover(self, token: str) -> Handover:
        # Where orders are placed here nobody has a token.
        if not isinstance(self._checkouts, Handover) or not is_order_id(token):
            raise checkout_not_found()
        return self._checkouts


def _key(request: Request) -> str:
    key = request.headers.get("idempotency-key")
    if key is None:
        raise Problem(
            problems.KEY_MISSING,
            "An order is placed at most once for each Idempotency-Key; send one, a UUIDv7 is best, "
            "and the same one when trying again.",
        )
    return parse_idempotency_key(key)


def _checkout(checkout: Checkout, status: int) -> HTTPResponse:
    return _json(_encoder.encode(document(checkout)), status, {})


def _json(body: bytes, status: int, headers: dict[str, str]) -> HTTPResponse:
    return HTTPResponse(
        body,
        status=status,
        content_type="application/json",
        headers={"cache-control": "private, no-store", **headers},
    )
