"""JSON responses; those of the hot path have their headers as bytes already."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from sanic.response import HTTPResponse

Header = tuple[bytes, bytes]

_JSON: Final = (b"content-type", b"application/json")
_PRIVATE: Final = (b"cache-control", b"private, no-store")


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


class BytesResponse(HTTPResponse):
    """A response whose headers need no encoding.

    Sanic's own response builds a case-insensitive multi-dictionary and encodes every header of it; that
    costs more than parsing the request.
    """

    __slots__ = ("_header_lines",)

    def __init__(self, status: int, body: bytes, headers: list[Header]) -> None:
        # Not HTTPResponse's own: making its headers is what this class saves.
        self.asgi = False
        self.body = body
        self.content_type = None
        self.stream = None
        self.status = status
        self.headers: Any = {}
        self._cookies = None
        self._header_lines = headers

    @property
    def processed_headers(self) -> Iterator[Header]:
        """Headers in bytes; Sanic has put content-length and connection into `headers`."""
        lines = self._header_lines
        for name, value in self.headers.items():
            lines.append((name.encode(), str(value).encode()))
        return iter(lines)


def document_response(body: bytes | None, tag: str, headers: list[Header]) -> BytesResponse:
    """200 with JSON for this caller alone, 204 without; `tag` is the opaque part of the strong ETag."""
    if body is None:
        return BytesResponse(204, b"", [_PRIVATE, _etag(tag), *headers])
    return BytesResponse(200, body, [_JSON, _PRIVATE, _etag(tag), *headers])


def not_modified(tag: str) -> BytesResponse:
    """304: the caller's copy is current."""
    return BytesResponse(304, b"", [_PRIVATE, _etag(tag)])


def _etag(tag: str) -> Header:
    return b"etag", b'"%b"' % tag.encode()
