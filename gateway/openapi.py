"""The OpenAPI 3.1 description of the gateway, from the Structs that decode and encode its bodies."""

from typing import Any, Final

import msgspec

from carts.view import CartView
from gateway.carts.requests import AddItem, MintedCart, PatchCart, PatchItem, PutItem
from gateway.checkout import openapi as checkout
from gateway.health.checks import Readiness
from gateway.http.openapi import ProblemDocument, errors, header, json_body, plain, problem_types, reply
from gateway.orders import openapi as orders
from gateway.products import openapi as products

_STRUCTS: Final = (
    AddItem,
    PutItem,
    PatchItem,
    PatchCart,
    MintedCart,
    CartView,
    Readiness,
    ProblemDocument,
    *products.STRUCTS,
    *checkout.STRUCTS,
    *orders.STRUCTS,
)

_CART_ID: Final = {
    "name": "cart_id",
    "in": "path",
    "required": True,
    "description": "user:<id> or guest:<token>",
    "schema": {"type": "string", "pattern": "^(user|guest):[A-Za-z0-9._~-]{1,128}$"},
}
_LINE_ID: Final = {
    "name": "line_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}(~[0-9a-f]{12})?$"},
}


_CHANGE_HEADERS: Final = [
    header(
        "Idempotency-Key",
        "1 to 128 printable ASCII characters, a UUIDv7 is best: a retry never applies twice",
    ),
    header("If-Match", "ETag of the cart: change it only if it is still at this version"),
    header("Prefer", "durability=redis|kafka|postgres (kafka), handling=strict, return=minimal (RFC 7240)"),
    header("traceparent", "W3C Trace Context, carried into the Kafka record"),
    header("X-Request-ID", "carried into the Kafka record as request_id"),
]
_READ_HEADERS: Final = [header("If-None-Match", "ETag of the cart: 304 if it is still at this version")]
_REPLY_HEADERS: Final = {
    "ETag": {"description": "version of the cart: v-n-digest, strong", "schema": {"type": "string"}},
}
_READ_REPLY_HEADERS: Final = {
    "ETag": {
        "description": "version of the cart; a suffix after a dot where warnings or adjustments are shown",
        "schema": {"type": "string"},
    },
    "Cart-Freshness": {
        "description": "stale: Postgres's copy, Redis may know better",
        "schema": {"type": "string"},
    },
}
_CHANGE_REPLY_HEADERS: Final = {
    **_REPLY_HEADERS,
    "Preference-Applied": {"description": "the durability reached", "schema": {"type": "string"}},
    "Cart-Receipt": {
        "description": "cart-changed/<partition>/<offset> of the record",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "true when the change had been made before",
        "schema": {"type": "string"},
    },
}


def document() -> dict[str, Any]:
    """The whole document, JSON-serialisable."""
    _, components = msgspec.json.schema_components(_STRUCTS, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cartstream gateway",
            "version": "1",
            "description": (
                "Carts that survive anything. Development mode: every caller may read and change every cart. "
                "Errors are problem details; their types: "
                + ", ".join(f"`{kind.uri}`" for kind in problem_types())
            ),
        },
        "paths": _paths(),
        "components": {"schemas": components},
    }


def _paths() -> dict[str, Any]:
    return {
        "/v1/carts": {
            "post": {
                "operationId": "mintCart",
                "summary": "A new guest cart id and its token; nothing is stored",
                "responses": {"201": reply("The id and token", "MintedCart"), **errors(405)},
            }
        },
        "/v1/carts/{cart_id}": {
            "parameters": [_CART_ID],
            "get": {
                "operationId": "readCart",
                "summary": "The cart; one never written is empty",
                "parameters": _READ_HEADERS,
                "responses": {
                    "200": reply("The cart", "CartView", _READ_REPLY_HEADERS),
                    "304": {"description": "It is still at the version in If-None-Match"},
                    **errors(400, 503),
                },
            },
            "patch": _change(
                "patchCart", "Up to 100 operations: all or none, one version, one event", "PatchCart"
            ),
            "delete": _change("clearCart", "Remove all lines; the metadata stays"),
        },
        "/v1/carts/{cart_id}/items": {
            "parameters": [_CART_ID],
            "post": _change("addItem", "Add pieces of a product", "AddItem"),
        },
        "/v1/carts/{cart_id}/items/{line_id}": {
            "parameters": [_CART_ID, _LINE_ID],
            "put": _change("putItem", "Replace quantity and metadata of a line; 0 removes it", "PutItem"),
            "patch": _change(
                "patchItem", "Change quantity, metadata or both; 0 removes the line", "PatchItem"
            ),
            "delete": _change("removeItem", "Remove a line; one that is not there is no error"),
        },
        **products.paths(),
        **checkout.paths(_CART_ID),
        **orders.paths(_CART_ID),
        "/health/live": {"get": plain("live", "200 as long as the event loop turns", "application/json")},
        "/health/ready": {
            "get": {
                "operationId": "ready",
                "summary": "Whether traffic should come here, and the state of each dependency",
                "responses": {
                    "200": reply("Ready or degraded", "Readiness"),
                    "503": reply("Not ready", "Readiness"),
                },
            }
        },
        "/metrics": {"get": plain("metrics", "Prometheus metrics", "text/plain")},
    }


def _change(operation_id: str, summary: str, body: str | None = None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "parameters": _CHANGE_HEADERS,
        "responses": {
            "200": reply("The cart after the change", "CartView", _CHANGE_REPLY_HEADERS),
            "204": {"description": "Changed; return=minimal was asked for", "headers": _CHANGE_REPLY_HEADERS},
            **errors(400, 404, 409, 412, 413, 415, 422, 429, 503),
        },
    }
    if body is not None:
        operation["requestBody"] = json_body(body)
    return operation


DOCS_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>cartstream gateway</title>
<style>body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}code{font-weight:600}
pre{background:#8881;padding:1rem;overflow:auto}</style>
<h1>cartstream gateway</h1><p id="about"></p><div id="paths"></div>
<p>Machine-readable: <a href="/openapi.json">/openapi.json</a></p>
<script>
const put = (parent, tag, text) =>
  parent.appendChild(Object.assign(document.createElement(tag), {textContent: text}));
fetch("/openapi.json").then(reply => reply.json()).then(api => {
  about.textContent = api.info.description;
  for (const [path, item] of Object.entries(api.paths))
  for (const [method, operation] of Object.entries(item)) {
    if (method === "parameters") continue;
    put(paths, "h3", method.toUpperCase() + " " + path);
    put(paths, "p", operation.summary);
    const [media] = Object.values(operation.requestBody?.content ?? {});
    const body = media?.schema.$ref.split("/").pop();
    if (body) put(paths, "pre", JSON.stringify(api.components.schemas[body], null, 2));
  }
});
</script></html>
"""
