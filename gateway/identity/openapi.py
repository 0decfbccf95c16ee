"""The OpenAPI description of guest carts and of what callers send to prove who they are."""

from typing import Any, Final

from gateway.carts.openapi import CHANGE_REPLY_HEADERS, PREFER
from gateway.carts.requests import MintCart
from gateway.http.openapi import errors, header, json_body, operation, reply, reply_header
from gateway.identity.requests import GuestCart, MintedCart

MINT: Final = operation(
    "mintCart",
    "Mint a guest cart, empty or with its first items; an empty one is stored nowhere",
    {
        "201": reply(
            "The id, the token that proves it, and the cart if it has items",
            MintedCart,
            headers={"Location": reply_header("the cart"), **CHANGE_REPLY_HEADERS},
        ),
        **errors(400, 403, 405, 409, 413, 415, 422, 429, 503),
    },
    parameters=[
        header(
            "Idempotency-Key",
            "of a mint with items: 22 or more characters that nobody can guess, best a UUID; a retry gets "
            "the same cart, and a token for it",
        ),
        PREFER,
    ],
    body=json_body(MintCart, required=False),
)
RENEW: Final = operation(
    "renewToken",
    "A guest token with its whole lifetime ahead, for the same cart; send the old one",
    {"200": reply("The same id, and a new token", GuestCart), **errors(401, 404, 405)},
)

SECURITY_SCHEMES: Final[dict[str, Any]] = {
    "streamTicket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "Opens one stream of the cart it was issued for.",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": (
            "In production mode: a shopper's JWT (its cart is user:<sub>), a service's JWT with the scopes "
            "carts, orders or catalogue, or a guest token out of POST /v1/carts. In development mode nothing "
            "is asked."
        ),
    },
    "cartToken": {
        "type": "apiKey",
        "in": "header",
        "name": "Cart-Token",
        "description": "A guest token; beside a shopper's JWT that guest cart is the shopper's, too.",
    },
    "cartSession": {
        "type": "apiKey",
        "in": "header",
        "name": "Cart-Session",
        "description": "The id of a monolith's session (CARTSTREAM_SESSION_KEY); a cookie serves, too.",
    },
}
