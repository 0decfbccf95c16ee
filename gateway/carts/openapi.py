"""Carts in the OpenAPI description."""

from typing import Any, Final

import msgspec

from carts.limits import MAX_SAFE_INTEGER
from gateway.carts import examples
from gateway.carts.details import DetailsOperation, PatchDetails
from gateway.carts.requests import AddItem, PatchCart, PatchItem, PutItem
from gateway.carts.shown import ShownCart
from gateway.erasure.certificate import Certificate, Copy, Expires, Kept, Removed
from gateway.http import problems
from gateway.http.grammars import CART_ID_IN_PATH, ENTITY_TAGS, IDEMPOTENCY_KEY, identifier
from gateway.http.openapi import (
    Operation,
    empty_reply,
    header,
    json_body,
    operation,
    path_parameter,
    query,
    reply,
    reply_header,
)

PARAMETERS: Final = {
    "cart_id": path_parameter(
        "cart_id",
        "`user:<id>` or `guest:<id>`, percent-encoded as UTF-8; `me`: the caller's own, in production mode",
        examples.CART_ID,
        CART_ID_IN_PATH,
    ),
    "line_id": path_parameter(
        "line_id", "as the cart shows it, percent-encoded as UTF-8", "mug", identifier("line_id")
    ),
}

RULES: Final[dict[str, dict[str, Any]]] = {
    PatchItem.__name__: {
        "anyOf": [
            {"required": [name], "properties": {name: {"type": kind}}}
            for name, kind in (("quantity", "integer"), ("metadata", "object"))
        ]
    },
    PatchDetails.__name__: {"minProperties": 1},
    DetailsOperation.__name__: {"minProperties": 2},
}

PREFER: Final = header(
    "Prefer",
    "durability=redis|kafka|postgres (kafka), handling=strict, return=minimal (RFC 7240)",
    "durability=kafka",
)
IF_MATCH: Final = header(
    "If-Match",
    "ETags of the cart: do it only if it is still at one of these versions; *: if it was ever written",
    examples.TAG,
    ENTITY_TAGS,
)
IF_NONE_MATCH: Final = header(
    "If-None-Match",
    "ETags of the cart: do it only if it is at none of these versions; *: if it was never written",
    '"0"',
    ENTITY_TAGS,
)
_CHANGE_HEADERS: Final = [
    header(
        "Idempotency-Key",
        "1 to 128 printable ASCII characters, a UUIDv7 is best: a retry never applies twice",
        examples.KEY,
        IDEMPOTENCY_KEY,
    ),
    IF_MATCH,
    IF_NONE_MATCH,
    PREFER,
    header(
        "traceparent",
        "W3C Trace Context, carried into the Kafka record",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    header("X-Request-ID", "carried into the Kafka record as request_id", "7f2c1d"),
]
_ETAG: Final = reply_header(
    "version of the cart: v-n-digest; a suffix after a dot for what is shown beside it", examples.TAG
)
_READ_REPLY_HEADERS: Final = {
    "ETag": _ETAG,
    "Cache-Control": reply_header("a copy is kept for this caller, and asked about", "private, no-cache"),
    "Vary": reply_header("what proves the caller", "authorization, cart-token, cart-session, cookie"),
    "Cart-Freshness": reply_header("stale: Postgres's copy, Redis may know better", "stale"),
    "Cart-At": reply_header(
        "with `at`, and without ETag: the version of the newest operation in it", "3596012345678902"
    ),
}
CHANGE_REPLY_HEADERS: Final = {
    "ETag": _ETAG,
    "Preference-Applied": reply_header(
        "the durability reached, and other preferences applied", "durability=kafka"
    ),
    "Cart-Receipt": reply_header("topic/partition/offset of the record, once Kafka has it", examples.RECEIPT),
    "Idempotency-Replayed": reply_header("true when the change had been made before", "true"),
}

CHANGING: Final = (
    problems.CURRENCY_MISMATCH,
    problems.DATABASE_UNAVAILABLE,
    problems.DURABILITY_NOT_REACHED,
    problems.KEY_REUSED,
    problems.LIMIT_EXCEEDED,
    problems.LINE_NOT_FOUND,
    problems.MERGED,
    problems.CLAIMED,
    problems.OUTBOX_FULL,
    problems.PRECONDITION_FAILED,
    problems.RESTORING,
    problems.STORE_FULL,
    problems.STORE_UNAVAILABLE,
    problems.TOO_MANY_CHANGES,
    problems.TOO_OLD,
)
"""Why a change of a cart may be refused."""
PRICED: Final = (
    problems.CATALOGUE_RESTORING,
    problems.CURRENCY_CHANGED,
    problems.FORBIDDEN,
    problems.INVALID_BODY,
    problems.OPTION_NOT_OFFERED,
    problems.PRICE_CHANGED,
    problems.PRODUCT_INACTIVE,
    problems.PRODUCT_UNKNOWN,
    problems.SHORT_STOCK,
)
"""Why the catalogue may refuse one that has products in it."""

READ: Final = operation(
    "readCart",
    "The cart; one never written is empty",
    {
        "200": reply("The cart", ShownCart, example=examples.CART, headers=_READ_REPLY_HEADERS),
        "304": empty_reply("It is still at the version in If-None-Match", _READ_REPLY_HEADERS),
    },
    problems=(
        problems.DATABASE_UNAVAILABLE,
        problems.HISTORY_INCOMPLETE,
        problems.HISTORY_TOO_LONG,
        problems.NO_HISTORY,
        problems.NOT_IN_HISTORY,
        problems.PRECONDITION_FAILED,
        problems.RESTORING,
        problems.STORE_UNAVAILABLE,
    ),
    parameters=[
        header("If-Match", "ETags of the cart: 412 if it is at none of these versions", "*", ENTITY_TAGS),
        header(
            "If-None-Match",
            "ETags of the cart: 304 if it is still at one of these versions",
            examples.TAG,
            ENTITY_TAGS,
        ),
        query(
            "at",
            "time (RFC 3339) or version number: the cart as it was, where there is a history",
            "2026-11-28T06:53:01Z",
            {
                "anyOf": [
                    {"type": "string", "format": "date-time"},
                    {"type": "integer", "minimum": 1, "maximum": MAX_SAFE_INTEGER},
                ]
            },
        ),
    ],
)


def _change(
    operation_id: str,
    summary: str,
    body: type[msgspec.Struct] | None = None,
    example: object = None,
    *,
    priced: bool = False,
) -> Operation:
    """An operation that changes a cart; `priced`: with what the catalogue may say of it."""
    return operation(
        operation_id,
        summary,
        {
            "200": reply(
                "The cart after the change",
                ShownCart,
                example=examples.CART,
                headers=CHANGE_REPLY_HEADERS,
            ),
            "204": empty_reply("Changed; return=minimal was asked for", CHANGE_REPLY_HEADERS),
        },
        problems=(*CHANGING, *PRICED) if priced else CHANGING,
        parameters=_CHANGE_HEADERS,
        body=None if body is None else json_body(body, example),
    )


_CERTIFICATE: Final = Certificate(
    erasure_id="e_0af7651916cd43dd8448eb211c80319c",
    cart_id=examples.CART_ID,
    erased_at=examples.TIME,
    version=3596012345678902,
    complete=False,
    waits_for=["carts"],
    removed=Removed(
        redis=Copy(lines=1, operations=7),
        row=Copy(lines=1, operations=7),
        outbox_entries=0,
        orders=1,
        checkouts=0,
        transfers=0,
        mails=1,
        changes=0,
        links=0,
    ),
    merged_guests=[],
    expires=[Expires("cart-changed", "operations of the cart", examples.TIME)],
    kept=[Kept("orders", "their totals and lines")],
)


def _with_erasure(clear: Operation) -> Operation:
    """The operation that clears a cart, and erases it if it is asked to."""
    shown: dict[str, Any] = {
        "cleared": examples.CART,
        "erased": msgspec.structs.replace(_CERTIFICATE, complete=True, waits_for=[]),
    }
    erased = "The cart after the change; with erase=true the certificate of the erasure"
    return msgspec.structs.replace(
        clear,
        parameters=[
            *clear.parameters,
            query(
                "erase",
                "true: forget the cart, and personal data of its orders, everywhere; without preconditions",
                example=False,
                schema={"type": "boolean"},
            ),
        ],
        problems=(*clear.problems, problems.CHECKOUT_IN_PROGRESS),
        replies={
            **clear.replies,
            "200": reply(erased, ShownCart, Certificate, example=shown, headers=CHANGE_REPLY_HEADERS),
            "202": reply(
                "Erased, and on its way to every store: `waits_for` names them",
                Certificate,
                example=_CERTIFICATE,
            ),
        },
    )


PATCH: Final = _change(
    "patchCart",
    "Up to 100 operations: all or none, one version, one event",
    PatchCart,
    examples.PATCH,
    priced=True,
)
PATCH_DETAILS: Final = _change(
    "patchDetails",
    "Set or remove details: null removes one, those left out stay",
    PatchDetails,
    examples.DETAILS,
)
CLEAR: Final = _with_erasure(_change("clearCart", "Remove all lines; metadata and details stay"))
ADD_ITEM: Final = _change("addItem", "Add pieces of a product", AddItem, examples.ADD, priced=True)
PUT_ITEM: Final = _change(
    "putItem",
    "Replace quantity and metadata of a line; 0 removes it",
    PutItem,
    examples.PUT,
    priced=True,
)
PATCH_ITEM: Final = _change(
    "patchItem",
    "Change quantity, metadata or both; 0 removes the line",
    PatchItem,
    examples.PATCH_ONE,
    priced=True,
)
REMOVE_ITEM: Final = _change("removeItem", "Remove a line; one that is not there is no error")
