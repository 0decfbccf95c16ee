"""Live carts in the OpenAPI description."""

from typing import Final

from gateway.carts.examples import TIME, VERSION
from gateway.http.openapi import header, operation, query, reply, text_reply
from gateway.http.problems import STORE_FULL, STORE_UNAVAILABLE, STREAMS_EXHAUSTED, TOO_MANY_STREAMS
from gateway.live.events import MEDIA_TYPE
from gateway.live.requests import StreamTicket

_TICKET: Final = "Jq0fJm3cXyT0bq0v3kq2mBzq0Jt4m2Tn"
_EVENT: Final = f'id: {VERSION}\nevent: cart\ndata: {{"cart_id":"user:42","status":"active","lines":[]}}\n\n'

STREAM: Final = operation(
    "streamCart",
    "The cart now, and again whenever it has changed, as server-sent events",
    {
        "200": text_reply(
            "Events `cart`, `merged` and `stale` with the cart as GET gives it, in one line, and "
            "`unavailable` with a problem. The id of `cart` and `merged` is the version.",
            MEDIA_TYPE,
            _EVENT,
        ),
    },
    problems=(STORE_UNAVAILABLE, STREAMS_EXHAUSTED, TOO_MANY_STREAMS),
    parameters=[
        header("Last-Event-ID", "the version that the client has: it is not sent again", VERSION),
        query("last_event_id", "the same, for a client that cannot send headers", VERSION),
        query("ticket", "opens the stream in place of other proofs, once", _TICKET),
    ],
)
ISSUE_TICKET: Final = operation(
    "issueStreamTicket",
    "A ticket that opens one stream of the cart, for callers that cannot send headers with it",
    {
        "201": reply(
            "The ticket; it is good once and not for long", StreamTicket, example=StreamTicket(_TICKET, TIME)
        )
    },
    problems=(STORE_FULL, STORE_UNAVAILABLE),
)
