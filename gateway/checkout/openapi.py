"""Checkouts in the OpenAPI description."""

from typing import Any, Final

from gateway.checkout.problems import Difference
from gateway.checkout.requests import CheckoutDocument, CompleteCheckout, PlaceOrder
from gateway.http.openapi import errors, header, json_body, operation, reply, reply_header
from topics.records import OrderRecord

SCHEMAS: Final = (Difference,)
"""Members of problems."""

PARAMETERS: Final = {
    "token": {
        "name": "token",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^o_[0-9a-f]{32}$"},
    }
}

_KEY: Final = header(
    "Idempotency-Key",
    "required where orders are internal: at most one order of the cart for each key; a UUIDv7 is best",
)
_IF_MATCH: Final = header("If-Match", "ETag of the cart: order it only if it is still at this version")
_REPLY_HEADERS: Final = {
    "Location": reply_header("the order"),
    "Idempotency-Replayed": reply_header("true when an earlier request with this key has placed the order"),
}

CHECK_OUT: Final = operation(
    "checkOut",
    "Order what is in the cart; where orders are external: get a token and the lines",
    {
        "200": reply("Where orders are external: the checkout that is open", CheckoutDocument),
        "201": reply(
            "The order; where orders are external: the new checkout",
            OrderRecord,
            CheckoutDocument,
            headers=_REPLY_HEADERS,
        ),
        **errors(400, 409, 412, 413, 415, 422, 503),
    },
    parameters=[_KEY, _IF_MATCH],
    body=json_body(PlaceOrder, required=False),
)


def _end(operation_id: str, summary: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    return operation(
        operation_id,
        summary,
        {
            "200": reply("The checkout as it is now", CheckoutDocument),
            **errors(400, 404, 409, 413, 415, 422, 503),
        },
        body=body,
    )


COMPLETE: Final = _end(
    "completeCheckout",
    "The lines were sold: they leave the cart, however late the request is",
    json_body(CompleteCheckout, required=False),
)
CANCEL: Final = _end("cancelCheckout", "Nothing was sold: the cart stays as it is")
