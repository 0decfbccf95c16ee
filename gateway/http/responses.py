"""JSON responses; those of the hot path have the lines of their head as bytes already."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from sanic.response import HTTPResponse

from gateway.server.sanic_internals import BareResponse

Header = tuple[bytes, bytes]

_JSON: Final = b"content-type: application/json\r\n"
_PRIVATE: Final = b"cache-control: private, no-store\r\n"
# A copy may be kept and must be asked about, so that its ETag is of use; of `me` each caller has another one.
_KEPT: Final = (
    b"cache-control: private, no-cache\r\nvary: authorization, cart-token, cart-session, cookie\r\n"
)


_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_encoder: Final = msgspec.json.Encoder()


def json_response(
    document: object,
    status: int = 200,
    headers: Mapping[str, str] = _NO_HEADERS,
    *,
    cache: str = "private, no-store",
) -> HTTPResponse:
    """The document as JSON; `cache` is the Cache-Control, by default for this caller alone."""
    return HTTPResponse(
        _encoder.encode(document),
        status=status,
        content_type="application/json",
        headers={"cache-control": cache, **headers},
    )


_POLICY: Final = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"


def html_response(
    page: str, headers: Mapping[str, str] = _NO_HEADERS, *, form: bool = False, files: bool = False
) -> HTTPResponse:
    """A page that may do nothing but what is named here.

    It may send a `form` to this gateway; load scripts and styles from it, and ask it (`files`).
    """
    policy = [_POLICY, "form-action 'self'" if form else "form-action 'none'"]
    if files:
        policy.append("script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'")
    return HTTPResponse(
        page,
        content_type="text/html; charset=utf-8",
        headers={
            "content-security-policy": "; ".join(policy),
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            **headers,
        },
    )


def document_response(body: bytes | None, tag: str, headers: Iterable[Header]) -> BareResponse:
    """200 with JSON for this caller alone, 204 without; `tag` is the opaque part of the strong ETag."""
    if body is None:
        return BareResponse(204, b"", _PRIVATE + _lines(tag, headers))
    return BareResponse(200, body, _JSON + _PRIVATE + _lines(tag, headers))


def kept_response(body: bytes, tag: str, headers: Iterable[Header]) -> BareResponse:
    """200 with JSON that this caller may keep, and asks about with its ETag before it is shown again."""
    return BareResponse(200, body, _JSON + _KEPT + _lines(tag, headers))


def not_modified(tag: str) -> BareResponse:
    """304: the caller's copy is current."""
    return BareResponse(304, b"", _KEPT + _lines(tag, ()))


def _lines(tag: str, headers: Iterable[Header]) -> bytes:
    lines = b'etag: "%b"\r\n' % tag.encode()
    for header in headers:
        lines += b"%b: %b\r\n" % header
    return lines
