"""Reads the first line and the headers of a request as strictly as RFC 9112 lets a server be.

What a server reads otherwise than the proxy before it becomes a second request. So nothing is mended here.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec
from sanic.constants import HTTP_METHODS
from sanic.exceptions import ExpectationFailed

from gateway.server.refusals import HEADERS, head_too_large, malformed, too_large

_METHODS: Final = frozenset(method.value for method in HTTP_METHODS)
_VERSIONS: Final = {"HTTP/1.1": "1.1", "HTTP/1.0": "1.0"}
_LEGAL: Final = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""What a head may hold between its line ends."""
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.vV]+\])(?::[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)
_LENGTH_DIGITS: Final = 15
_LINES: Final = 4096
"""Headers that are remembered: clients send the same few lines with every request."""
_SHORT: Final = 64
"""Characters of a line that may be remembered: callers choose them, and memory is bounded."""

_ONCE: Final = frozenset({"host", "content-length", "transfer-encoding"})
_FRAMING: Final = _ONCE | {"connection", "expect"}


class Head(msgspec.Struct, frozen=True):
    """A request without its body. `target` begins with a slash, or is `*`.

    `length` is None without a body and for one in chunks. Bytes of a value that are no UTF-8 are lone
    surrogates, as Sanic has them.
    """

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    keep_alive: bool
    length: int | None
    is_chunked: bool
    expects_continue: bool


def parse_head(head: bytes) -> Head:
    """The head of a request, without the empty line that ends it. Raises Refused, ExpectationFailed."""
    lines = _lines(head)
    if len(lines) > HEADERS + 1:
        raise head_too_large(in_first_line=False)
    try:
        method, target, protocol = lines.pop(0).split(" ")
        version = _VERSIONS[protocol]
    except (ValueError, KeyError):
        raise malformed("the first line is not a method, a target and HTTP/1.1") from None
    if method not in _METHODS:
        _check_token(method, "the method")
    headers, framing = _fields(lines)
    host = framing.get("host")
    if host is None and version != "1.0":
        raise malformed("it has no Host header")
    if host and not _is_host(host):
        raise malformed("the Host header is no host")
    length, is_chunked = _body(framing, version)
    return Head(
        method,
        target if target[:1] == "/" and _is_plain(target) else _origin_form(method, target),
        version,
        headers,
        _stays_open(framing["connection"], version) if "connection" in framing else version == "1.1",
        length,
        is_chunked,
        "expect" in framing and _expects_continue(framing["expect"], version),
    )


def check_fields(section: bytes) -> None:
    """Raise Refused unless each line is a header, as trailers are."""
    _fields(_lines(section))


def _lines(section: bytes) -> list[str]:
    lines = section.decode(errors="surrogateescape").split("\r\n")
    # Every CR and every LF has to be part of a line's end.
    if len(section.translate(None, _LEGAL)) != 2 * (len(lines) - 1):
        raise malformed("a control character, or a line that does not end with CRLF")
    return lines


def _fields(lines: list[str]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """All headers in their order, and those that say where the request ends, by name."""
    headers: list[tuple[str, str]] = []
    framing: dict[str, str] = {}
    for line in lines:
        field = _remembered(line) if len(line) <= _SHORT else _field(line)
        name = field[0]
        if name in _FRAMING:
            framing[name] = field[1] if name not in framing else _together(name, framing[name], field[1])
        headers.append(field)
    return headers, framing


def _field(line: str) -> tuple[str, str]:
    """Name in lower case, and value."""
    name, colon, value = line.partition(":")
    if not colon:
        raise malformed("a header has no colon")
    # A folded line begins with a blank, which no token has.
    _check_token(name, "the name of a header")
    return name.lower(), value.strip(" \t")


_remembered: Final = lru_cache(maxsize=_LINES)(_field)


def _together(name: str, first: str, second: str) -> str:
    """The value of a header that stands in two lines."""
    if name in _ONCE:
        raise malformed(f"it has more than one {name}")
    return f"{first}, {second}"


def _check_token(word: str, what: str) -> None:
    if not _TOKEN.fullmatch(word):
        raise malformed(f"{what} is not made of letters, digits and !#$%&'*+-.^_`|~")


def _is_plain(target: str) -> bool:
    return target.isascii() and "#" not in target and "\t" not in target


def _origin_form(method: str, target: str) -> str:
    if target == "*" and method == "OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not absolute[1] or not _is_plain(target) or not _is_host(absolute[1]):
        raise malformed("the target is neither a path nor an http URL, in printable ASCII without #")
    return absolute[2] if absolute[2].startswith("/") else f"/{absolute[2]}"


@lru_cache(maxsize=256)
def _is_host(value: str) -> bool:
    return _HOST.fullmatch(value) is not None


def _body(framing: dict[str, str], version: str) -> tuple[int | None, bool]:
    length, coding = framing.get("content-length"), framing.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise malformed("it says twice how long its body is")
        if coding.lower() != "chunked" or version == "1.0":
            raise malformed("chunked is the only Transfer-Encoding, and needs HTTP/1.1")
        return None, True
    if length is None:
        return None, False
    if not (length.isascii() and length.isdigit()):
        raise malformed("the Content-Length is no number")
    if len(length) > _LENGTH_DIGITS:
        length = length.lstrip("0") or "0"
        if len(length) > _LENGTH_DIGITS:
            raise too_large(10**_LENGTH_DIGITS)
    return int(length), False


def _stays_open(connection: str, version: str) -> bool:
    options = {option.strip() for option in connection.lower().split(",")}
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


def _expects_continue(expectation: str, version: str) -> bool:
    if expectation.lower() != "100-continue":
        raise ExpectationFailed("The only expectation that can be met is 100-continue")
    return version != "1.0"
