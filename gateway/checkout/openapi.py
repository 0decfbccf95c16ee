"""Checkouts in the OpenAPI description."""

from typing import Any, Final

import msgspec

from carts.view import Totals
from gateway.carts.examples import CART_ID, KEY, TIME, VERSION
from gateway.carts.openapi import IF_MATCH, IF_NONE_MATCH
from gateway.checkout.problems import Difference
from gateway.checkout.requests import CheckoutDocument, CompleteCheckout, PlaceOrder
from gateway.http import problems
from gateway.http.grammars import IDEMPOTENCY_KEY, identifier
from gateway.http.openapi import Operation, header, json_body, operation, path_parameter, reply, reply_header
from gateway.orders.openapi import ORDER, ORDER_ID
from store.postgres.order_records import CheckoutStatus
from topics.records import OrderRecord

SCHEMAS: Final = (Difference,)
"""Members of problems."""

PARAMETERS: Final = {
    "token": path_parameter("token", "as the checkout answered it", ORDER_ID, identifier("order_id"))
}

_KEY: Final = header(
    "Idempotency-Key",
    "required where orders are internal: at most one order of the cart for each key; a UUIDv7 is best",
    KEY,
    IDEMPOTENCY_KEY,
)
_REPLY_HEADERS: Final = {
    "Location": reply_header("the order", f"/v1/orders/{ORDER_ID}"),
    "Idempotency-Replayed": reply_header(
        "true when an earlier request with this key has placed the order", "true"
    ),
}
_CHECKOUT: Final = CheckoutDocument(
    token=ORDER_ID,
    cart_id=CART_ID,
    status=CheckoutStatus.OPEN,
    expires_at=TIME,
    version=VERSION,
    currency="EUR",
    lines=ORDER.lines,
    adjustments=[],
    totals=Totals(subtotal=3998, discount=0, tax=0, total=3998),
)

CHECK_OUT: Final = operation(
    "checkOut",
    "Order what is in the cart; where orders are external: get a token and the lines",
    {
        "200": reply(
            "Where orders are external: the checkout that is open", CheckoutDocument, example=_CHECKOUT
        ),
        "201": reply(
            "The order; where orders are external: the new checkout",
            OrderRecord,
            CheckoutDocument,
            example={"internal": ORDER, "external": _CHECKOUT},
            headers=_REPLY_HEADERS,
            links={"readOrder": ("order_id", "order_id"), "cancelOrder": ("order_id", "order_id")},
        ),
    },
    problems=(
        problems.CART_EMPTY,
        problems.CART_NOT_DELIVERED,
        problems.CART_OUTDATED,
        problems.CATALOGUE_RESTORING,
        problems.CHECKOUT_IN_PROGRESS,
        problems.CLAIMED,
        problems.DATABASE_UNAVAILABLE,
        problems.KEY_MISSING,
        problems.KEY_REUSED,
        problems.MERGED,
        problems.PRECONDITION_FAILED,
        problems.PRICING_UNAVAILABLE,
        problems.RESTORING,
        problems.STORE_UNAVAILABLE,
    ),
    parameters=[_KEY, IF_MATCH, IF_NONE_MATCH],
    body=json_body(
        PlaceOrder,
        {"total": PlaceOrder(email="ada@example.org", expected_total=3998), "as it is": PlaceOrder()},
        required=False,
    ),
)


def _end(operation_id: str, summary: str, status: CheckoutStatus, body: dict[str, Any] | None) -> Operation:
    return operation(
        operation_id,
        summary,
        {
            "200": reply(
                "The checkout as it is now",
                CheckoutDocument,
                example=msgspec.structs.replace(_CHECKOUT, status=status),
            )
        },
        problems=(
            problems.CHECKOUT_CLOSED,
            problems.CHECKOUT_NOT_FOUND,
            problems.DATABASE_UNAVAILABLE,
            problems.RESTORING,
            problems.STORE_UNAVAILABLE,
        ),
        body=body,
    )


COMPLETE: Final = _end(
    "completeCheckout",
    "The lines were sold: they leave the cart, however late the request is",
    CheckoutStatus.COMPLETED,
    json_body(CompleteCheckout, CompleteCheckout(order_id="2026-11-28-0042"), required=False),
)
CANCEL: Final = _end(
    "cancelCheckout", "Nothing was sold: the cart stays as it is", CheckoutStatus.CANCELLED, None
)
