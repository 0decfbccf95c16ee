"""The catalogue in the OpenAPI description."""

from typing import Any, Final

import msgspec

from carts.products import Product
from gateway.http.openapi import errors, header, json_body, operation, query, reply, reply_header, schema
from gateway.products.importing import LineError, Progress, Stopped, Summary
from gateway.products.requests import (
    DEFAULT_LIMIT,
    MAX_IDS,
    MAX_LIMIT,
    NDJSON,
    ImportProduct,
    PatchProduct,
    PutProduct,
)
from gateway.products.responses import ProductPage

PARAMETERS: Final = {
    "product_id": {
        "name": "product_id",
        "in": "path",
        "required": True,
        "description": "percent-encoded as UTF-8",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    }
}

_UNLESS: Final = header("If-None-Match", "ETag of an earlier reply: 304 if nothing has changed")
_IF_MATCH: Final = header("If-Match", "ETag of the product: write only if it is still at this version")
_IF_NONE_MATCH: Final = header("If-None-Match", "*: write only if there is no such product yet")
_TAG: Final = {"ETag": reply_header("version of the product, strong")}
_READ_REPLY_HEADERS: Final = {
    "ETag": reply_header("changes when what is shown changes"),
    "Cache-Control": reply_header("public, max-age=…"),
}
_READ_RESPONSES: Final = {
    "304": {"description": "Not changed since the ETag in If-None-Match", "headers": _READ_REPLY_HEADERS},
    **errors(400, 404, 503),
}

LIST: Final = operation(
    "listProducts",
    "Active products in the order of their ids; with all words of q, of a category; or those named by ids",
    {"200": reply("A page", ProductPage, headers=_READ_REPLY_HEADERS), **_READ_RESPONSES},
    parameters=[
        query("cursor", "next_cursor of the page before"),
        query("limit", f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} unless given", "integer"),
        query("q", "words of name, category and description; the last may be unfinished"),
        query("category", "exactly this category"),
        query("ids", f"up to {MAX_IDS} product ids between commas, without the other parameters"),
        _UNLESS,
    ],
)
READ: Final = operation(
    "readProduct",
    "A product, active or not",
    {"200": reply("The product", Product, headers=_READ_REPLY_HEADERS), **_READ_RESPONSES},
    parameters=[_UNLESS],
)


def _write(operation_id: str, summary: str, body: type[msgspec.Struct]) -> dict[str, Any]:
    return operation(
        operation_id,
        summary,
        {
            "200": reply("The product as it is now", Product, headers=_TAG),
            "201": reply("The new product", Product, headers=_TAG),
            **errors(400, 404, 409, 412, 413, 415, 422, 503),
        },
        parameters=[_IF_MATCH, _IF_NONE_MATCH],
        body=json_body(body),
    )


PUT: Final = _write("putProduct", "Insert or replace the product", PutProduct)
PATCH: Final = _write("patchProduct", "Change the fields that the body names", PatchProduct)
IMPORT: Final = operation(
    "importProducts",
    "Insert or change a product by each line; lines of progress and errors come back meanwhile",
    {
        "200": {
            "description": "Lines: errors, progress, and a summary at the end",
            "content": {NDJSON: {"schema": schema(LineError, Progress, Summary, Stopped)}},
        },
        **errors(404, 415, 422, 503),
    },
    body={"required": True, "content": {NDJSON: {"schema": schema(ImportProduct)}}},
)
