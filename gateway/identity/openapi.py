"""The OpenAPI description of guest carts and of what callers send to prove who they are."""

from typing import Any, Final

import msgspec

from gateway.carts.examples import CART, GUEST_ID, KEY, TIME
from gateway.carts.examples import MINT as MINTED
from gateway.carts.openapi import CHANGE_REPLY_HEADERS, CHANGING, PREFER, PRICED
from gateway.carts.requests import UNGUESSABLE, MintCart
from gateway.http.grammars import IDEMPOTENCY_KEY
from gateway.http.openapi import header, json_body, operation, reply, reply_header
from gateway.identity.requests import GuestCart, MintedCart

_TOKEN: Final = "g1.WDdRazJ2VHpSazJ5TTBiRDNyNXc4QQ.1796021581.5vXn0r2mQkq4"  # noqa: S105  proves nothing
_GUEST: Final = GuestCart(GUEST_ID, _TOKEN, TIME)

MINT: Final = operation(
    "mintCart",
    "Mint a guest cart, empty or with its first items; an empty one is stored nowhere",
    {
        "201": reply(
            "The id, the token that proves it, and the cart if it has items",
            MintedCart,
            example={
                "empty": MintedCart(GUEST_ID, _TOKEN, TIME),
                "with items": MintedCart(
                    GUEST_ID, _TOKEN, TIME, msgspec.structs.replace(CART, cart_id=GUEST_ID)
                ),
            },
            headers={"Location": reply_header("the cart", f"/v1/carts/{GUEST_ID}"), **CHANGE_REPLY_HEADERS},
            links=dict.fromkeys(("readCart", "addItem", "patchCart", "checkOut"), ("cart_id", "cart_id")),
        )
    },
    problems=(*CHANGING, *PRICED),
    parameters=[
        header(
            "Idempotency-Key",
            "of a mint with items: 22 or more characters that nobody can guess, best a UUID; a retry gets "
            "the same cart, and a token for it",
            KEY,
            IDEMPOTENCY_KEY | {"minLength": UNGUESSABLE},
        ),
        PREFER,
    ],
    body=json_body(MintCart, MINTED, required=False),
)
RENEW: Final = operation(
    "renewToken",
    "A guest token with its whole lifetime ahead, for the same cart; send the old one",
    {"200": reply("The same id, and a new token", GuestCart, example=_GUEST)},
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
