"""Orders in the OpenAPI description."""

from typing import Final

from gateway.http.openapi import errors, operation, query, reply
from gateway.orders.requests import DEFAULT_LIMIT, MAX_LIMIT
from gateway.orders.service import OrderPage
from topics.records import OrderRecord

PARAMETERS: Final = {
    "order_id": {
        "name": "order_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^o_[0-9a-f]{32}$"},
    }
}

LIST: Final = operation(
    "listOrders",
    "The cart's orders, newest first",
    {"200": reply("A page", OrderPage), **errors(400, 503)},
    parameters=[
        query("cursor", "next_cursor of the page before", "integer"),
        query("limit", f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} unless given", "integer"),
    ],
)
READ: Final = operation(
    "readOrder", "The order as it is now", {"200": reply("The order", OrderRecord), **errors(404, 503)}
)
CANCEL: Final = operation(
    "cancelOrder",
    "Cancel the order: its quantities go back into the stock, its cart stays as it is",
    {"200": reply("The order, cancelled now or before", OrderRecord), **errors(404, 409, 503)},
)
