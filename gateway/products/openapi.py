"""The catalogue in the OpenAPI description."""

from typing import Any, Final

from carts.products import Product
from gateway.http.openapi import errors, header, json_body, reply
from gateway.products.importing import LineError, Progress, Stopped, Summary
from gateway.products.requests import ImportProduct, PatchProduct, PutProduct
from gateway.products.routes import DEFAULT_LIMIT, MAX_LIMIT, NDJSON, ProductPage

STRUCTS: Final = (
    Product,
    ProductPage,
    PutProduct,
    PatchProduct,
    ImportProduct,
    LineError,
    Progress,
    Summary,
    Stopped,
)

_PRODUCT_ID: Final = {
    "name": "product_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
_UNLESS: Final = [header("If-None-Match", "ETag of an earlier reply: 304 if nothing has changed")]
_IF_MATCH: Final = [header("If-Match", "ETag of the product: write only if it is still at this version")]
_TAG: Final = {"ETag": {"description": "version of the product, strong", "schema": {"type": "string"}}}
_READ_REPLY_HEADERS: Final = {
    "ETag": {"description": "changes when what is shown changes", "schema": {"type": "string"}},
    "Cache-Control": {"description": "public, max-age=…", "schema": {"type": "string"}},
}


def paths() -> dict[str, Any]:
    """The routes of the catalogue."""
    unchanged = {"description": "It is still what is named in If-None-Match", "headers": _READ_REPLY_HEADERS}
    return {
        "/v1/products": {
            "get": {
                "operationId": "listProducts",
                "summary": "Active products by id; with all words of q, of a category",
                "parameters": [
                    _query("cursor", "next_cursor of the page before"),
                    _query("limit", f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} unless given", "integer"),
                    _query("q", "words of name, category and description; the last may be unfinished"),
                    _query("category", "exactly this one"),
                    *_UNLESS,
                ],
                "responses": {
                    "200": reply("A page", "ProductPage", _READ_REPLY_HEADERS),
                    "304": unchanged,
                    **errors(400, 404, 503),
                },
            }
        },
        "/v1/products/{product_id}": {
            "parameters": [_PRODUCT_ID],
            "get": {
                "operationId": "readProduct",
                "summary": "A product, an inactive one too",
                "parameters": _UNLESS,
                "responses": {
                    "200": reply("The product", "Product", _READ_REPLY_HEADERS),
                    "304": unchanged,
                    **errors(400, 404, 503),
                },
            },
            "put": _write("putProduct", "Make the product what the body says", "PutProduct"),
            "patch": _write("patchProduct", "Change the fields that the body names", "PatchProduct"),
        },
        "/v1/products/import": {
            "post": {
                "operationId": "importProducts",
                "summary": "A product a line, as long as lines come; lines of progress and errors come back",
                "requestBody": {
                    "required": True,
                    "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/ImportProduct"}}},
                },
                "responses": {
                    "200": {
                        "description": "Lines: errors, progress, and a summary at the end",
                        "content": {
                            NDJSON: {
                                "schema": {
                                    "anyOf": [
                                        {"$ref": f"#/components/schemas/{kind.__name__}"}
                                        for kind in (LineError, Progress, Summary, Stopped)
                                    ]
                                }
                            }
                        },
                    },
                    **errors(404, 415, 503),
                },
            }
        },
    }


def _write(operation_id: str, summary: str, schema: str) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "summary": summary,
        "parameters": _IF_MATCH,
        "requestBody": json_body(schema),
        "responses": {
            "200": reply("The product as it is now", "Product", _TAG),
            "201": reply("The new product", "Product", _TAG),
            **errors(400, 404, 409, 412, 413, 415, 422, 503),
        },
    }


def _query(name: str, description: str, kind: str = "string") -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": kind},
    }
