"""Orders in the OpenAPI description."""

from typing import Any, Final

from gateway.http.openapi import errors, reply
from gateway.orders.routes import DEFAULT_LIMIT, MAX_LIMIT
from gateway.orders.service import OrderPage
from topics.records import OrderRecord

STRUCTS: Final = (OrderRecord, OrderPage)

_ORDER_ID: Final = {
    "name": "order_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^o_[0-9a-f]{32}$"},
}


def paths(cart_id: dict[str, Any]) -> dict[str, Any]:
    """The routes of orders; `cart_id` is the parameter of the path."""
    order = "/v1/orders/{order_id}"
    return {
        "/v1/carts/{cart_id}/orders": {
            "parameters": [cart_id],
            "get": {
                "operationId": "listOrders",
                "summary": "The cart's orders, newest first",
                "parameters": [
                    _query("cursor", "next_cursor of the page before"),
                    _query("limit", f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} unless given"),
                ],
                "responses": {"200": reply("A page", "OrderPage"), **errors(400, 503)},
            },
        },
        order: {
            "parameters": [_ORDER_ID],
            "get": {
                "operationId": "readOrder",
                "summary": "The order as it is now",
                "responses": {"200": reply("The order", "OrderRecord"), **errors(404, 503)},
            },
        },
        f"{order}/cancel": {
            "parameters": [_ORDER_ID],
            "post": {
                "operationId": "cancelOrder",
                "summary": "Cancel the order: its pieces go back into the stock, its cart stays as it is",
                "responses": {
                    "200": reply("The order, cancelled now or before", "OrderRecord"),
                    **errors(404, 409, 503),
                },
            },
        },
    }


def _query(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "integer"},
    }
