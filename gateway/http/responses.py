"""JSON responses; those of the hot path have their headers as bytes already."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from sanic.response import HTTPResponse

from gateway.server.dates import date_header
from gateway.server.sanic_internals import BareResponse

Header = tuple[bytes, bytes]

_JSON: Final = (b"content-type", b"application/json")
_PRIVATE: Final = (b"cache-control", b"private, no-store")
# A copy may be kept and must be asked about, so that its ETag is of use; of `me` each caller has another one.
_ASKED_ABOUT: Final = (b"cache-control", b"private, no-cache")
_VARY: Final = (b"vary", b"authorization, cart-token, cart-session, cookie")


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


class BytesResponse(BareResponse):
    """A response whose headers need no encoding.

    Sanic's own response builds a case-insensitive multi-dictionary and encodes every header of it; that
    costs more than parsing the request.
    """

    __slots__ = ("_header_lines",)

    def __init__(self, status: int, body: bytes, headers: list[Header]) -> None:
        super().__init__(status, body)
        self._header_lines = headers

    @property
    def processed_headers(self) -> Iterator[Header]:
        """Headers in bytes; the server has put content-length and connection into `headers`."""
        lines = self._header_lines
        lines.append(date_header())
        for name, value in self.headers.items():
            lines.append((name.encode(), str(value).encode()))
        return iter(lines)


def document_response(body: bytes | None, tag: str, headers: list[Header]) -> BytesResponse:
    """200 with JSON for this caller alone, 204 without; `tag` is the opaque part of the strong ETag."""
    if body is None:
        return BytesResponse(204, b"", [_PRIVATE, _etag(tag), *headers])
    return BytesResponse(200, body, [_JSON, _PRIVATE, _etag(tag), *headers])


def kept_response(body: bytes, tag: str, headers: list[Header]) -> BytesResponse:
    """200 with JSON that this caller may keep, and asks about with its ETag before it is shown again."""
    return BytesResponse(200, body, [_JSON, _ASKED_ABOUT, _VARY, _etag(tag), *headers])


def not_modified(tag: str) -> BytesResponse:
    """304: the caller's copy is current."""
    return BytesResponse(304, b"", [_ASKED_ABOUT, _VARY, _etag(tag)])


def _etag(tag: str) -> Header:
    return b"etag", b'"%b"' % tag.encode()
