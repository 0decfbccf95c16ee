"""The HTTP routes of the catalogue."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from carts.errors import InvalidIdentifier
from gateway.http.requests import (
    bad_parameter,
    body_of,
    check_not_encoded,
    preconditions_of,
    product_id_in,
    single_of,
)
from gateway.http.routing import route
from gateway.identity.access import Access
from gateway.identity.guard import caller_of
from gateway.pricing.problems import catalogue_restoring
from gateway.products import openapi, problems
from gateway.products.importing import Import
from gateway.products.requests import (
    NDJSON,
    PATCH_PRODUCT,
    PUT_PRODUCT,
    check_ndjson,
    check_version,
    ids_request,
    page_request,
    sent_product,
)
from gateway.products.responses import ProductPage, document, tag_of, written
from gateway.products.service import Catalogue
from gateway.rates.service import Rates
from gateway.resilience.storage import StorageWatch
from gateway.server.admission import Admission, Priority
from store.redis.catalogue import CacheNotReady, ProductCache

_ENCODER: Final = msgspec.json.Encoder()


class ProductRoutes:
    """Handlers of one app. Without a catalogue each raises the problem `no-catalogue`."""

    def __init__(
        self,
        catalogue: Catalogue | None,
        rates: Rates,
        max_age_s: int,
        storage: StorageWatch,
        admission: Admission,
    ) -> None:
        self._given = catalogue
        self._rates = rates
        self._max_age_s = max_age_s
        self._storage = storage
        self._admission = admission

    @route("GET", "/v1/products", Access.PUBLIC, openapi.LIST)
    async def page(self, request: Request) -> HTTPResponse:
        """Active products by id: those with all words of `q`, of `category`; or those that `ids` names."""
        cache = self._catalogue().cache
        ids = ids_request(request)
        if ids is not None:
            return await self._named(request, cache, ids)
        page = page_request(request)
        try:
            found = await cache.page(
                cursor=page.cursor, q=page.query, category=page.category, limit=page.limit
            )
        except InvalidIdentifier as error:
            detail = "is not the `next_cursor` of a page; leave it out to start"
            raise bad_parameter("cursor", detail) from error
        if isinstance(found, CacheNotReady):
            raise catalogue_restoring()
        body = _ENCODER.encode(ProductPage(found.products, found.next_cursor))
        return self._marked(document(request, body, tag_of(body), self._max_age_s))

    @route("GET", "/v1/products/{product_id}", Access.PUBLIC, openapi.READ)
    async def read(self, request: Request, product_id: str) -> HTTPResponse:
        """A product; an inactive one for services only."""
        name = product_id_in(product_id)
        found = await self._catalogue().cache.read(name)
        if isinstance(found, CacheNotReady):
            raise catalogue_restoring()
        if found is None or not (found.active or caller_of(request).is_trusted):
            raise problems.product_not_found(name)
        max_age_s = self._max_age_s if found.active else None
        return self._marked(document(request, _ENCODER.encode(found), str(found.version), max_age_s))

    @route("PUT", "/v1/products/{product_id}", Access.CATALOGUE, openapi.PUT, priority=Priority.BULK)
    async def put(self, request: Request, product_id: str) -> HTTPResponse:
        """Insert or replace the product."""
        writer = self._catalogue().writer
        self._rates.check_product(request, caller_of(request))
        product = sent_product(product_id_in(product_id), body_of(request, PUT_PRODUCT))
        check_version(product.version, required=not writer.gives_versions)
        done = await writer.put(product, preconditions_of(request.headers))
        body = _ENCODER.encode(done.product)
        return self._marked(written(body, done.product.version, created=done.created))

    @route("PATCH", "/v1/products/{product_id}", Access.CATALOGUE, openapi.PATCH, priority=Priority.BULK)
    async def patch(self, request: Request, product_id: str) -> HTTPResponse:
        """Change the fields that the body names."""
        writer = self._catalogue().writer
        self._rates.check_product(request, caller_of(request))
        name, body = product_id_in(product_id), body_of(request, PATCH_PRODUCT)
        check_version(body.version, required=not writer.gives_versions)
        done = await writer.patch(name, body, preconditions_of(request.headers))
        return self._marked(written(_ENCODER.encode(done.product), done.product.version, created=False))

    @route(
        "POST",
        "/v1/products/import",
        Access.CATALOGUE,
        openapi.IMPORT,
        stream=True,
        priority=Priority.BULK,
    )
    async def import_products(self, request: Request) -> None:
        """Import a product from each line of the body; reply with lines of errors and progress meanwhile."""
        writer, caller = self._catalogue().writer, caller_of(request)
        self._rates.check_product(request, caller)
        check_ndjson(single_of(request.headers, "content-type"))
        check_not_encoded(request.headers)
        response: Any = None
        charge = partial(self._rates.charge_products, caller)
        async for report in Import(writer, charge, lambda: self._admission.is_limited).run(_chunks(request)):
            if response is None:
                headers = {"cache-control": "no-store", **self._freshness()}
                response = await request.respond(content_type=NDJSON, headers=headers)
            await response.send(_ENCODER.encode(report) + b"\n")
        await response.eof()

    async def _named(self, request: Request, cache: ProductCache, ids: list[str]) -> HTTPResponse:
        found = await cache.read_many(ids)
        if isinstance(found, CacheNotReady):
            raise catalogue_restoring()
        shown = [one for one in found if one.active or caller_of(request).is_trusted]
        body = _ENCODER.encode(ProductPage(shown, None))
        max_age_s = self._max_age_s if all(one.active for one in shown) else None
        return self._marked(document(request, body, tag_of(body), max_age_s))

    def _marked(self, response: HTTPResponse) -> HTTPResponse:
        response.headers.update(self._freshness())
        return response

    def _freshness(self) -> dict[str, str]:
        """Tells that what is written now is not shown yet, and that what is shown may be old."""
        return {} if self._storage.products_stand_since_us is None else {"catalogue-freshness": "stale"}

    def _catalogue(self) -> Catalogue:
        if self._given is None:
            raise problems.no_catalogue()
        return self._given


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    stream: Any = request.stream
    async for chunk in stream:
        yield chunk
