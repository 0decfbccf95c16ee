"""Live carts in the OpenAPI description."""

from typing import Final

from gateway.http.openapi import errors, header, operation, query, reply
from gateway.live.events import MEDIA_TYPE
from gateway.live.requests import StreamTicket

STREAM: Final = operation(
    "streamCart",
    "The cart now, and again whenever it has changed, as server-sent events",
    {
        "200": {
            "description": (
                "Events `cart`, `merged` and `stale` with the cart as GET gives it, in one line, and "
                "`unavailable` with a problem. The id of `cart` and `merged` is the version."
            ),
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        **errors(400, 405, 429, 503),
    },
    parameters=[
        header("Last-Event-ID", "the version that the client has: it is not sent again"),
        query("last_event_id", "the same, for a client that cannot send headers"),
        query("ticket", "opens the stream in place of other proofs, once"),
    ],
)
ISSUE_TICKET: Final = operation(
    "issueStreamTicket",
    "A ticket that opens one stream of the cart, for callers that cannot send headers with it",
    {"201": reply("The ticket; it is good once and not for long", StreamTicket), **errors(400, 405, 503)},
)
