"""Carts in the OpenAPI description."""

from typing import Any, Final

import msgspec

from gateway.carts.details import PatchDetails
from gateway.carts.requests import AddItem, PatchCart, PatchItem, PutItem
from gateway.carts.shown import ShownCart
from gateway.erasure.certificate import Certificate
from gateway.http.openapi import errors, header, json_body, operation, query, reply, reply_header

PARAMETERS: Final = {
    "cart_id": {
        "name": "cart_id",
        "in": "path",
        "required": True,
        "description": "user:<id> or guest:<token>",
        "schema": {"type": "string", "pattern": "^(user|guest):[A-Za-z0-9._~-]{1,128}$"},
    },
    "line_id": {
        "name": "line_id",
        "in": "path",
        "required": True,
        "description": "as the cart shows it, percent-encoded as UTF-8",
        "schema": {"type": "string", "minLength": 1, "maxLength": 141},
    },
}

PREFER: Final = header(
    "Prefer", "durability=redis|kafka|postgres (kafka), handling=strict, return=minimal (RFC 7240)"
)
_CHANGE_HEADERS: Final = [
    header(
        "Idempotency-Key",
        "1 to 128 printable ASCII characters, a UUIDv7 is best: a retry never applies twice",
    ),
    header("If-Match", "ETag of the cart: change it only if it is still at this version"),
    header("If-None-Match", "ETags of the cart: change it only if it is at none of them; *: if it is new"),
    PREFER,
    header("traceparent", "W3C Trace Context, carried into the Kafka record"),
    header("X-Request-ID", "carried into the Kafka record as request_id"),
]
_READ_REPLY_HEADERS: Final = {
    "ETag": reply_header("version of the cart; a suffix after a dot for what is shown beside it"),
    "Cart-Freshness": reply_header("stale: Postgres's copy, Redis may know better"),
    "Cart-At": reply_header("with `at`, and without ETag: the version of the newest operation in it"),
}
CHANGE_REPLY_HEADERS: Final = {
    "ETag": reply_header("version of the cart: v-n-digest; a suffix after a dot for the products' names"),
    "Preference-Applied": reply_header("the durability reached"),
    "Cart-Receipt": reply_header("cart-changed/<partition>/<offset> of the record"),
    "Idempotency-Replayed": reply_header("true when the change had been made before"),
}

READ: Final = operation(
    "readCart",
    "The cart; one never written is empty",
    {
        "200": reply("The cart", ShownCart, headers=_READ_REPLY_HEADERS),
        "304": {"description": "It is still at the version in If-None-Match"},
        **errors(400, 404, 409, 503),
    },
    parameters=[
        header("If-None-Match", "ETag of the cart: 304 if it is still at this version"),
        query("at", "time (RFC 3339) or version number: the cart as it was, where there is a history"),
    ],
)


def _change(operation_id: str, summary: str, body: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    """An operation that changes a cart."""
    return operation(
        operation_id,
        summary,
        {
            "200": reply("The cart after the change", ShownCart, headers=CHANGE_REPLY_HEADERS),
            "204": {"description": "Changed; return=minimal was asked for", "headers": CHANGE_REPLY_HEADERS},
            **errors(400, 404, 409, 412, 413, 415, 422, 429, 503),
        },
        parameters=_CHANGE_HEADERS,
        body=None if body is None else json_body(body),
    )


def _with_erasure(clear: dict[str, Any]) -> dict[str, Any]:
    """The operation that clears a cart, and erases it if it is asked to."""
    erased = "The cart after the change; with erase=true the certificate of the erasure"
    return clear | {
        "parameters": [
            *clear["parameters"],
            query(
                "erase", "true: forget the cart, and personal data of its orders, in all stores", "boolean"
            ),
        ],
        "responses": clear["responses"]
        | {
            "200": reply(erased, ShownCart, Certificate, headers=CHANGE_REPLY_HEADERS),
            "202": reply("Erased, and on its way to every store: `waits_for` names them", Certificate),
        },
    }


PATCH: Final = _change("patchCart", "Up to 100 operations: all or none, one version, one event", PatchCart)
PATCH_DETAILS: Final = _change(
    "patchDetails", "Set or remove details: null removes one, those left out stay", PatchDetails
)
CLEAR: Final = _with_erasure(_change("clearCart", "Remove all lines; metadata and details stay"))
ADD_ITEM: Final = _change("addItem", "Add pieces of a product", AddItem)
PUT_ITEM: Final = _change("putItem", "Replace quantity and metadata of a line; 0 removes it", PutItem)
PATCH_ITEM: Final = _change("patchItem", "Change quantity, metadata or both; 0 removes the line", PatchItem)
REMOVE_ITEM: Final = _change("removeItem", "Remove a line; one that is not there is no error")
