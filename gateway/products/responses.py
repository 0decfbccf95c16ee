"""Responses of the catalogue: public, cacheable, with strong ETags."""

from hashlib import blake2b

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from carts.products import Product
from gateway.http.requests import is_current


class ProductPage(msgspec.Struct, frozen=True):
    """Products by id, or in the order they were named; the cursor of the next page, null on the last page."""

    products: list[Product]
    next_cursor: str | None


def document(request: Request, body: bytes, tag: str, max_age_s: int | None) -> HTTPResponse:
    """200 with the JSON, or 304 if the caller has it already; both may be cached for `max_age_s`.

    Without a `max_age_s` it is for this caller only.
    """
    kept = "private, no-cache" if max_age_s is None else f"public, max-age={max_age_s}"
    headers = {"etag": f'"{tag}"', "cache-control": kept}
    if is_current(request.headers, tag):
        return HTTPResponse(b"", status=304, headers=headers)
    return HTTPResponse(body, content_type="application/json", headers=headers)


def written(body: bytes, version: int, *, created: bool) -> HTTPResponse:
    """201 or 200 with the product as it is now."""
    return HTTPResponse(
        body,
        status=201 if created else 200,
        content_type="application/json",
        headers={"etag": f'"{version}"', "cache-control": "no-store"},
    )


def tag_of(body: bytes) -> str:
    """The ETag of a body without a version: a hash of its bytes."""
    return blake2b(body, digest_size=8).hexdigest()
