"""The HTTP routes of checkouts: parse, call the checkout that this gateway has, reply."""

from sanic import Request
from sanic.response import HTTPResponse

from carts.ids import is_order_id
from gateway.checkout import openapi, problems
from gateway.checkout.external import ExternalCheckouts
from gateway.checkout.internal import InternalCheckouts
from gateway.checkout.requests import (
    COMPLETE_CHECKOUT,
    PLACE_ORDER,
    CompleteCheckout,
    PlaceOrder,
    checked,
    document,
)
from gateway.http.conditions import Preconditions, parse_idempotency_key
from gateway.http.requests import cart_id_in, optional_body, preconditions_of, single_of
from gateway.http.responses import json_response
from gateway.http.routing import route
from gateway.identity.access import Access
from gateway.metrics import Metrics
from gateway.server.admission import Priority
from store.postgres.order_records import Checkout

Checkouts = InternalCheckouts | ExternalCheckouts
"""Internal: orders are kept here. External: another system keeps them."""


class CheckoutRoutes:
    """Handlers of one app."""

    def __init__(self, checkouts: Checkouts, metrics: Metrics) -> None:
        self._checkouts = checkouts
        self._replies = metrics.checkouts

    @route(
        "POST", "/v1/carts/{cart_id}/checkout", Access.CHECKOUT, openapi.CHECK_OUT, priority=Priority.ALWAYS
    )
    async def check_out(self, request: Request, cart_id: str) -> HTTPResponse:
        """Place an order; where orders are external, open a checkout with a token and the lines."""
        name = cart_id_in(cart_id)
        body = checked(optional_body(request, PLACE_ORDER, PlaceOrder()))
        preconditions = preconditions_of(request.headers)
        if isinstance(self._checkouts, ExternalCheckouts):
            return await self._open(self._checkouts, name, body.expected_total, preconditions)
        return await self._place(self._checkouts, name, _key(request), body, preconditions)

    @route(
        "POST",
        "/v1/carts/{cart_id}/checkout/{token}/complete",
        Access.ORDERS_SERVICE,
        openapi.COMPLETE,
        priority=Priority.ALWAYS,
    )
    async def complete(self, request: Request, cart_id: str, token: str) -> HTTPResponse:
        """The owner of orders has sold the lines of the checkout."""
        body = optional_body(request, COMPLETE_CHECKOUT, CompleteCheckout())
        name = cart_id_in(cart_id)
        completed = await self._external(token).complete(name, token, body.order_id)
        self._replies.labels("completed").inc()
        return _checkout(completed, 200)

    @route(
        "POST",
        "/v1/carts/{cart_id}/checkout/{token}/cancel",
        Access.ORDERS_SERVICE,
        openapi.CANCEL,
        priority=Priority.ALWAYS,
    )
    async def cancel(self, _: Request, cart_id: str, token: str) -> HTTPResponse:
        """The owner of orders has sold nothing."""
        name = cart_id_in(cart_id)
        cancelled = await self._external(token).cancel(name, token)
        self._replies.labels("cancelled").inc()
        return _checkout(cancelled, 200)

    async def _place(
        self,
        checkouts: InternalCheckouts,
        cart_id: str,
        key: str,
        body: PlaceOrder,
        preconditions: Preconditions,
    ) -> HTTPResponse:
        order, is_new = await checkouts.place(cart_id, key, body, preconditions)
        self._replies.labels("placed" if is_new else "replayed").inc()
        headers = {"location": f"/v1/orders/{order.order_id}"}
        if not is_new:
            headers["idempotency-replayed"] = "true"
        return json_response(order, 201, headers)

    async def _open(
        self,
        checkouts: ExternalCheckouts,
        cart_id: str,
        expected_total: int | None,
        preconditions: Preconditions,
    ) -> HTTPResponse:
        checkout, is_new = await checkouts.open(cart_id, expected_total, preconditions)
        self._replies.labels("opened" if is_new else "joined").inc()
        return _checkout(checkout, 201 if is_new else 200)

    def _external(self, token: str) -> ExternalCheckouts:
        # Where orders are kept here no checkout has a token.
        if not isinstance(self._checkouts, ExternalCheckouts) or not is_order_id(token):
            raise problems.checkout_not_found()
        return self._checkouts


def _key(request: Request) -> str:
    key = single_of(request.headers, "idempotency-key")
    if key is None:
        raise problems.key_missing()
    return parse_idempotency_key(key)


def _checkout(checkout: Checkout, status: int) -> HTTPResponse:
    return json_response(document(checkout), status)
