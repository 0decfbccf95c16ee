"""The OpenAPI description of guest carts and of what callers send to prove who they are."""

from typing import Any, Final

from gateway.http.openapi import errors, operation, reply
from gateway.identity.requests import GuestCart

MINT: Final = operation(
    "mintCart",
    "Mint a guest cart; nothing is stored until something is added",
    {"201": reply("The id, and the token that proves it", GuestCart), **errors(405)},
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
