"""What routes of several features take out of a request."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import msgspec
from sanic import Request
from sanic.compat import Header

from carts.errors import InvalidIdentifier
from carts.ids import check_cart_id, check_line_id, check_product_id
from gateway.http import problems
from gateway.http.conditions import DEFAULT_PREFERENCES, Preferences, parse_prefer
from gateway.http.problems import FieldError, Problem, body_too_large
from gateway.http.validation import check_media_type, decode
from topics.headers import TRACEPARENT, Headers

T = TypeVar("T")

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")


def cart_id_in(segment: str) -> str:
    """The cart id in a segment of the path, percent-decoded and in NFC. Raises Problem if it is none."""
    return _id_in(segment, check_cart_id, "cart")


def line_id_in(segment: str) -> str:
    """The line id in a segment of the path. Raises Problem if it is none."""
    return _id_in(segment, check_line_id, "line")


def product_id_in(segment: str) -> str:
    """The product id in a segment of the path. Raises Problem if it is none."""
    return _id_in(segment, check_product_id, "product")


def preferences_of(headers: Header) -> Preferences:
    """What the `Prefer` headers ask for. Raises Problem."""
    prefer = headers.getall("prefer", None)
    return parse_prefer(",".join(prefer)) if prefer else DEFAULT_PREFERENCES


def trace_of(headers: Header) -> Headers:
    """What ties records to the request: W3C Trace Context and the caller's request id, if well-formed."""
    trace: Headers = []
    traceparent = headers.get(TRACEPARENT)
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        trace.append((TRACEPARENT, traceparent.encode()))
    request_id = headers.get("x-request-id")
    if request_id is not None and _REQUEST_ID.fullmatch(request_id):
        trace.append(("request_id", request_id.encode()))
    return trace


def body_of(request: Request, decoder: "msgspec.json.Decoder[T]") -> T:
    """The Struct in the body. Raises Problem."""
    check_media_type(request.headers.get("content-type"))
    if len(request.body) > request.app.ctx.body_bytes:
        raise body_too_large(request)
    return decode(decoder, request.body)


def optional_body(request: Request, decoder: "msgspec.json.Decoder[T]", absent: T) -> T:
    """The Struct in the body, `absent` without a body. Raises Problem."""
    return body_of(request, decoder) if request.body else absent


def bad_parameter(name: str, detail: str) -> Problem:
    """The problem of a query parameter."""
    return Problem(
        problems.INVALID_PARAMETER,
        f"The parameter {name} {detail}.",
        errors=[FieldError("", f"{name} {detail}")],
    )


def number_in(request: Request, name: str, absent: int | None, most: int) -> int | None:
    """The positive number that a query parameter says, `absent` without it. Raises Problem."""
    arguments: Any = request.get_args(keep_blank_values=True)
    text = arguments.get(name)
    if text is None:
        return absent
    # By its length first: leading zeros would smuggle in a number that nobody can count with.
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    if not is_number or not 1 <= int(text) <= most:
        raise bad_parameter(name, f"is {text[:40]!r}; send a number from 1 to {most}")
    return int(text)


def _id_in(segment: str, check: Callable[[str], str], of: str) -> str:
    try:
        return check(_decoded(segment))
    except InvalidIdentifier as error:
        raise Problem(
            problems.INVALID_IDENTIFIER, f"The {of} id in the path is not valid: {error.advice}."
        ) from error
    except UnicodeDecodeError as error:
        raise Problem(
            problems.INVALID_IDENTIFIER, f"The {of} id in the path is not valid: percent-encode it as UTF-8."
        ) from error


def _decoded(segment: str) -> str:
    if segment.isascii() and "%" not in segment:
        return segment
    return unicodedata.normalize("NFC", unquote(segment, errors="strict"))
