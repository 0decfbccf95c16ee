"""The history of carts in the OpenAPI description."""

from typing import Final

from gateway.history.requests import DEFAULT_LIMIT, MAX_LIMIT
from gateway.history.service import HistoryPage
from gateway.http.openapi import errors, operation, query, reply

READ: Final = operation(
    "readHistory",
    "The cart's operations, newest first; only where there is a history",
    {"200": reply("A page", HistoryPage), **errors(400, 404, 503)},
    parameters=[
        query("cursor", "next_cursor of the page before"),
        query("limit", f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} unless given", "integer"),
    ],
)
