"""The HTTP routes of the catalogue."""

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from carts.errors import InvalidIdentifier
from carts.ids import check_product_id
from gateway.http import problems
from gateway.http.conditions import parse_if_match
from gateway.http.problems import Problem
from gateway.http.requests import bad_parameter, body_of, number_in
from gateway.http.routing import route
from gateway.pricing.prices import catalogue_restoring
from gateway.products import openapi
from gateway.products.importing import Import
from gateway.products.requests import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    NDJSON,
    PATCH_PRODUCT,
    PUT_PRODUCT,
    check_version,
    sent,
)
from gateway.products.responses import ProductPage, document, tag_of, written
from gateway.products.service import ProductWriter, not_found
from store.redis.catalogue import CacheNotReady, ProductCache

_QUERY_CHARACTERS: Final = 200
_PARAMETERS: Final = {"cursor", "limit", "q", "category"}
_ENCODER: Final = msgspec.json.Encoder()


class Catalogue(msgspec.Struct, frozen=True):
    """What the routes work with, where there is a catalogue."""

    cache: ProductCache
    writer: ProductWriter


class ProductRoutes:
    """Handlers of one app. Without a catalogue each says so."""

    def __init__(self, catalogue: Catalogue | None, max_age_s: int) -> None:
        self._given = catalogue
        self._max_age_s = max_age_s

    @route("GET, HEAD", "/v1/products", openapi.LIST)
    async def page(self, request: Request) -> HTTPResponse:
        """Active products by id, those with all words of `q`, of `category`."""
        cache = self._catalogue().cache
        cursor, limit, query, category = _parameters(request)
        try:
            found = await cache.page(cursor=cursor, q=query, category=category, limit=limit)
        except InvalidIdentifier as error:
            raise bad_parameter("cursor", "is none that a page has given; leave it out to begin") from error
        if isinstance(found, CacheNotReady):
            raise catalogue_restoring()
        body = _ENCODER.encode(ProductPage(found.products, found.next_cursor))
        return document(request, body, tag_of(body), self._max_age_s)

    @route("GET, HEAD", "/v1/products/{product_id}", openapi.READ)
    async def read(self, request: Request, product_id: str) -> HTTPResponse:
        """A product, an inactive one too."""
        name = _product_id(product_id)
        found = await self._catalogue().cache.read(name)
        if isinstance(found, CacheNotReady):
            raise catalogue_restoring()
        if found is None:
            raise not_found(name)
        return document(request, _ENCODER.encode(found), str(found.version), self._max_age_s)

    @route("PUT", "/v1/products/{product_id}", openapi.PUT)
    async def put(self, request: Request, product_id: str) -> HTTPResponse:
        """Make the product what the body says."""
        writer = self._catalogue().writer
        product = sent(_product_id(product_id), body_of(request, PUT_PRODUCT))
        check_version(product.version, required=not writer.gives_versions)
        done = await writer.put(product, parse_if_match(request.headers.get("if-match")))
        return written(_ENCODER.encode(done.product), done.product.version, created=done.created)

    @route("PATCH", "/v1/products/{product_id}", openapi.PATCH)
    async def patch(self, request: Request, product_id: str) -> HTTPResponse:
        """Change the fields that the body names."""
        writer = self._catalogue().writer
        name, body = _product_id(product_id), body_of(request, PATCH_PRODUCT)
        check_version(body.version, required=not writer.gives_versions)
        done = await writer.patch(name, body, parse_if_match(request.headers.get("if-match")))
        return written(_ENCODER.encode(done.product), done.product.version, created=False)

    @route("POST", "/v1/products/import", openapi.IMPORT, stream=True)
    async def import_products(self, request: Request) -> None:
        """Take a product a line, as long as lines come; answer in lines what is wrong and how far it is."""
        writer = self._catalogue().writer
        _check_ndjson(request.headers.get("content-type"))
        response: Any = None
        async for report in Import(writer).run(_pieces(request)):
            if response is None:
                response = await request.respond(content_type=NDJSON, headers={"cache-control": "no-store"})
            await response.send(_ENCODER.encode(report) + b"\n")
        await response.eof()

    def _catalogue(self) -> Catalogue:
        if self._given is None:
            raise Problem(
                problems.NO_CATALOGUE,
                "CARTSTREAM_PRODUCTS_OWNER is caller: who adds to a cart states the price. "
                "Set it to internal or external to have a catalogue.",
            )
        return self._given


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    stream: Any = request.stream
    async for piece in stream:
        yield piece


def _check_ndjson(value: str | None) -> None:
    essence = (value or "").partition(";")[0].strip().lower()
    if essence not in {NDJSON, "application/ndjson", "application/jsonl"}:
        raise Problem(
            problems.UNSUPPORTED_MEDIA_TYPE,
            f"The body came as {essence[:80] or 'no media type at all'}; "
            f"send one JSON object a line as {NDJSON}.",
            headers={"accept": NDJSON},
        )


def _parameters(request: Request) -> tuple[str | None, int, str | None, str | None]:
    arguments = request.get_args(keep_blank_values=True)
    for name in arguments:
        if name not in _PARAMETERS:
            raise bad_parameter(name[:40], f"is not known; use {', '.join(sorted(_PARAMETERS))}")
    limit = number_in(request, "limit", DEFAULT_LIMIT, MAX_LIMIT) or DEFAULT_LIMIT
    query, category = arguments.get("q") or None, arguments.get("category") or None
    for name, value in (("q", query), ("category", category)):
        if value is not None and len(value) > _QUERY_CHARACTERS:
            raise bad_parameter(name, f"has {len(value)} characters; send at most {_QUERY_CHARACTERS}")
    return arguments.get("cursor") or None, limit, query, category


def _product_id(value: str) -> str:
    try:
        return check_product_id(unquote(value) if "%" in value else value)
    except InvalidIdentifier as error:
        raise Problem(
            problems.INVALID_IDENTIFIER, f"The product id in the path is not valid: {error.advice}."
        ) from error
