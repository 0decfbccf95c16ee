"""The catalogue in the OpenAPI description."""

from typing import Any, Final

import msgspec

from carts.products import Product
from gateway.carts.examples import TIME
from gateway.http import problems
from gateway.http.grammars import ENTITY_TAGS, identifier
from gateway.http.openapi import (
    Operation,
    empty_reply,
    header,
    json_body,
    number,
    operation,
    path_parameter,
    query,
    reply,
    reply_header,
    schema,
)
from gateway.products.importing import LineError, Progress, Stopped, Summary
from gateway.products.requests import (
    DEFAULT_LIMIT,
    MAX_IDS,
    MAX_LIMIT,
    NDJSON,
    QUERY_CHARACTERS,
    ImportProduct,
    PatchProduct,
    PutProduct,
)
from gateway.products.responses import ProductPage

_PRODUCT: Final = Product(
    product_id="mug",
    name="Mug",
    unit_price=1999,
    currency="EUR",
    description="Holds 300 ml.",
    category="kitchen",
    stock=12,
    image_url="/images/mug.jpg",
    attributes={"options": {"colour": ["blue", "white"]}},
    version=7,
    updated_at=TIME,
)

RULES: Final = {ImportProduct.__name__: {"minProperties": 2, "not": {"required": ["stock", "stock_change"]}}}

PARAMETERS: Final = {
    "product_id": path_parameter("product_id", "percent-encoded as UTF-8", "mug", identifier("product_id"))
}

_TAG_EXAMPLE: Final = '"7"'
_READ_CONDITIONS: Final = [
    header("If-Match", "ETags of earlier replies: 412 if it is at none of them", _TAG_EXAMPLE, ENTITY_TAGS),
    header(
        "If-None-Match", "ETags of earlier replies: 304 if nothing has changed", _TAG_EXAMPLE, ENTITY_TAGS
    ),
]
_WRITE_CONDITIONS: Final = [
    header(
        "If-Match", "ETags of the product: write only if it is at one of these", _TAG_EXAMPLE, ENTITY_TAGS
    ),
    header("If-None-Match", "*: write only if there is no such product yet", "*", ENTITY_TAGS),
]
_FRESHNESS: Final = {
    "Catalogue-Freshness": reply_header(
        "stale: Redis is full, newer changes of products are not shown yet", "stale"
    )
}
_TAG: Final = {"ETag": reply_header("version of the product, strong", _TAG_EXAMPLE), **_FRESHNESS}
_READ_REPLY_HEADERS: Final = {
    **_FRESHNESS,
    "ETag": reply_header("changes when what is shown changes", _TAG_EXAMPLE),
    "Cache-Control": reply_header("for how long everybody may keep it", "public, max-age=5"),
}
_NOT_MODIFIED: Final = empty_reply("Not changed since the ETag in If-None-Match", _READ_REPLY_HEADERS)
_READING: Final = (
    problems.CATALOGUE_RESTORING,
    problems.NO_CATALOGUE,
    problems.PRECONDITION_FAILED,
    problems.STORE_UNAVAILABLE,
)
_WRITING: Final = (
    problems.DATABASE_UNAVAILABLE,
    problems.KAFKA_UNAVAILABLE,
    problems.NO_CATALOGUE,
    problems.PRECONDITION_FAILED,
    problems.PRODUCT_NOT_FOUND,
    problems.STORE_UNAVAILABLE,
    problems.VERSION_TOO_LOW,
)

LIST: Final = operation(
    "listProducts",
    "Active products in the order of their ids; with all words of q, of a category; or those named by ids",
    {
        "200": reply(
            "A page", ProductPage, example=ProductPage([_PRODUCT], None), headers=_READ_REPLY_HEADERS
        ),
        "304": _NOT_MODIFIED,
    },
    problems=_READING,
    parameters=[
        query("cursor", "next_cursor of the page before, as it came", "mug"),
        number("limit", f"{DEFAULT_LIMIT} unless given", DEFAULT_LIMIT, MAX_LIMIT),
        query(
            "q",
            "words of name, category and description; the last may be unfinished",
            "blue mu",
            {"type": "string", "maxLength": QUERY_CHARACTERS},
        ),
        query(
            "category",
            "exactly this category",
            "kitchen",
            {"type": "string", "maxLength": QUERY_CHARACTERS},
        ),
        query(
            "ids", f"up to {MAX_IDS} product ids between commas, without the other parameters", "mug,shirt"
        ),
        *_READ_CONDITIONS,
    ],
)
READ: Final = operation(
    "readProduct",
    "A product, active or not",
    {
        "200": reply("The product", Product, example=_PRODUCT, headers=_READ_REPLY_HEADERS),
        "304": _NOT_MODIFIED,
    },
    problems=(*_READING, problems.PRODUCT_NOT_FOUND),
    parameters=_READ_CONDITIONS,
)


def _write(
    operation_id: str, summary: str, replies: dict[str, Any], body: type[msgspec.Struct], example: object
) -> Operation:
    return operation(
        operation_id,
        summary,
        replies,
        problems=_WRITING,
        parameters=_WRITE_CONDITIONS,
        body=json_body(body, example),
    )


_WRITTEN: Final = {"200": reply("The product as it is now", Product, example=_PRODUCT, headers=_TAG)}

PUT: Final = _write(
    "putProduct",
    "Insert or replace the product",
    {**_WRITTEN, "201": reply("The new product", Product, example=_PRODUCT, headers=_TAG)},
    PutProduct,
    PutProduct(name="Mug", unit_price=1999, currency="EUR", stock=12),
)
PATCH: Final = _write(
    "patchProduct",
    "Change the fields that the body names",
    _WRITTEN,
    PatchProduct,
    {"price": PatchProduct(unit_price=1899), "stock": PatchProduct(stock=None)},
)
IMPORT: Final = operation(
    "importProducts",
    "Insert or change a product by each line; lines of progress and errors come back meanwhile",
    {
        "200": {
            "description": "Lines: errors, progress, and a summary at the end",
            "headers": _FRESHNESS,
            "content": {
                NDJSON: {
                    "schema": schema(LineError, Progress, Summary, Stopped),
                    "examples": {"the last line": {"value": Summary(2, 2, 2, 0, 0.1)}},
                }
            },
        }
    },
    problems=(problems.DATABASE_UNAVAILABLE, problems.KAFKA_UNAVAILABLE, problems.NO_CATALOGUE),
    body=json_body(
        ImportProduct,
        ImportProduct(product_id="mug", name="Mug", unit_price=1999, currency="EUR", stock=12),
        media_type=NDJSON,
    ),
)
