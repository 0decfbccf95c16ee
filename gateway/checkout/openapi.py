"""Checkouts in the OpenAPI description."""

from typing import Any, Final

from gateway.checkout.problems import Difference
from gateway.checkout.requests import CheckoutDocument, CompleteCheckout, PlaceOrder
from gateway.http.openapi import errors, header, json_body, reply

STRUCTS: Final = (PlaceOrder, CompleteCheckout, CheckoutDocument, Difference)

_KEY: Final = [
    header(
        "Idempotency-Key",
        "needed where orders are placed here: at most one order of the cart for each key, a UUIDv7 is best",
    )
]
_REPLY_HEADERS: Final = {
    "Location": {"description": "the order", "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "true when an earlier attempt with this key has placed the order",
        "schema": {"type": "string"},
    },
}
_TOKEN: Final = {
    "name": "token",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^o_[0-9a-f]{32}$"},
}


def paths(cart_id: dict[str, Any]) -> dict[str, Any]:
    """The routes of checkouts; `cart_id` is the parameter of the path."""
    checkout = "/v1/carts/{cart_id}/checkout"
    placed = reply("The order; orders kept elsewhere: the new checkout", "OrderRecord", _REPLY_HEADERS)
    placed["content"]["application/json"]["schema"] = {
        "anyOf": [
            {"$ref": "#/components/schemas/OrderRecord"},
            {"$ref": "#/components/schemas/CheckoutDocument"},
        ]
    }
    return {
        checkout: {
            "parameters": [cart_id],
            "post": {
                "operationId": "checkOut",
                "summary": "Order what the cart holds; orders kept elsewhere: hand out a token and the lines",
                "parameters": _KEY,
                "requestBody": json_body("PlaceOrder") | {"required": False},
                "responses": {
                    "200": reply("Orders kept elsewhere: the checkout that is open", "CheckoutDocument"),
                    "201": placed,
                    **errors(400, 409, 413, 415, 422, 503),
                },
            },
        },
        f"{checkout}/{{token}}/complete": {
            "parameters": [cart_id, _TOKEN],
            "post": _outcome(
                "completeCheckout", "The lines were sold: they leave the cart, however late this comes"
            )
            | {"requestBody": json_body("CompleteCheckout") | {"required": False}},
        },
        f"{checkout}/{{token}}/cancel": {
            "parameters": [cart_id, _TOKEN],
            "post": _outcome("cancelCheckout", "The checkout came to nothing: the cart stays as it is"),
        },
    }


def _outcome(operation_id: str, summary: str) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "summary": summary,
        "responses": {
            "200": reply("The checkout as it is now", "CheckoutDocument"),
            **errors(400, 404, 409, 413, 415, 422, 503),
        },
    }
