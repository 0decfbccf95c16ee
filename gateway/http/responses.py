"""The response of a cart, made for the hot path: constant headers are bytes already, the rest is appended."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from sanic.response import HTTPResponse

from carts.protocol import Durability

# Several header lines in one entry: Sanic writes `name: value`, and the value may go on below.
_JSON: Final = (b"content-type", b"application/json\r\ncache-control: private, no-store")
_NO_BODY: Final = (b"cache-control", b"private, no-store")


class CartResponse(HTTPResponse):
    """A 200 with a cart, a 204 or a 304 without one.

    Sanic's own response builds a case-insensitive multi-dictionary and encodes every header of it; that
    costs more than parsing the request.
    """

    __slots__ = ("_lines",)

    def __init__(self, status: int, body: bytes, lines: list[tuple[bytes, bytes]]) -> None:
        # Not HTTPResponse's own: making its headers is what this class saves.
        self.asgi = False
        self.body = body
        self.content_type = None
        self.stream = None
        self.status = status
        self.headers: Any = {}
        self._cookies = None
        self._lines = lines

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """Header lines in bytes; Sanic has put content-length and connection into `headers`."""
        lines = self._lines
        for name, value in self.headers.items():
            lines.append((name.encode(), str(value).encode()))
        return iter(lines)


def cart_response(body: bytes | None, tag: str, further: list[tuple[bytes, bytes]]) -> CartResponse:
    """200 with the cart's JSON, 204 without; `tag` is the opaque part of the strong ETag."""
    etag = (b"etag", b'"%b"' % tag.encode())
    if body is None:
        return CartResponse(204, b"", [_NO_BODY, etag, *further])
    return CartResponse(200, body, [_JSON, etag, *further])


def not_modified(tag: str) -> CartResponse:
    """304: the caller's copy is current."""
    return CartResponse(304, b"", [_NO_BODY, (b"etag", b'"%b"' % tag.encode())])


def durability_headers(reached: Durability, extra: str, receipt: str | None) -> list[tuple[bytes, bytes]]:
    """Preference-Applied (RFC 7240): what was reached, `extra` preferences applied; and the receipt."""
    applied = _applied(reached, extra)
    return [applied] if receipt is None else [applied, (b"cart-receipt", receipt.encode())]


@lru_cache
def _applied(reached: Durability, extra: str) -> tuple[bytes, bytes]:
    return b"preference-applied", f"durability={reached}{extra}".encode()
