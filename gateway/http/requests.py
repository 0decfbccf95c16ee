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
from gateway.http.conditions import (
    ANY,
    DEFAULT_PREFERENCES,
    NO_PRECONDITIONS,
    Preconditions,
    Preferences,
    is_not_modified,
    parse_if_match,
    parse_if_none_match,
    parse_prefer,
)
from gateway.http.problems import FieldError, Problem
from gateway.http.validation import check_media_type, decode
from runtime import tracing
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


def field_of(headers: Header, name: str) -> str | None:
    """The value of a header that is a list: all of its lines as one (RFC 9110, 5.3); None without it."""
    lines = headers.getall(name, None)
    return None if lines is None else lines[0] if len(lines) == 1 else ", ".join(lines)


def single_of(headers: Header, name: str) -> str | None:
    """The value of a header that is no list; None without it. Raises Problem for several lines of it.

    Which of them counts is for nobody to guess: a proxy may have looked at another one.
    """
    lines = headers.getall(name, None)
    if lines is None:
        return None
    if len(lines) > 1:
        raise Problem(problems.INVALID_HEADER, f"The request has {len(lines)} headers {name}; send one.")
    return str(lines[0])


def preconditions_of(headers: Header) -> Preconditions:
    """What `If-Match` and `If-None-Match` ask of a change. Raises Problem."""
    if "if-match" not in headers and "if-none-match" not in headers:
        return NO_PRECONDITIONS
    return Preconditions(
        parse_if_match(field_of(headers, "if-match")), parse_if_none_match(field_of(headers, "if-none-match"))
    )


def is_current(headers: Header, tag: str, never_written: str = "") -> bool:
    """Whether a reader has what is there already, so that 304 is the reply.

    Raises Problem when `If-Match`, which is looked at first (RFC 9110, 13.2.2), asks for something else than
    `tag`.
    """
    if "if-match" not in headers and "if-none-match" not in headers:
        return False
    wanted = parse_if_match(field_of(headers, "if-match"))
    if wanted is not None and not Preconditions(if_match=wanted).hold(
        None if wanted == (ANY,) and tag == never_written else tag.partition(".")[0]
    ):
        raise Problem(
            problems.PRECONDITION_FAILED,
            "What is there is not at a version named in If-Match; read it without one.",
            headers={"etag": f'"{tag}"'},
            extra={"current": tag},
        )
    known = field_of(headers, "if-none-match")
    return known is not None and is_not_modified(known, tag, never_written)


def preferences_of(headers: Header) -> Preferences:
    """What the `Prefer` headers ask for. Raises Problem."""
    prefer = field_of(headers, "prefer")
    return parse_prefer(prefer) if prefer else DEFAULT_PREFERENCES


def trace_of(headers: Header) -> Headers:
    """What ties records to the request: W3C Trace Context and the caller's request id, if well-formed."""
    trace: Headers = []
    # With traces the record belongs to the request's span here, which belongs to the caller's.
    traceparent = headers.get(TRACEPARENT) if tracing.active is None else tracing.active.current_traceparent()
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        trace.append((TRACEPARENT, traceparent.encode()))
    request_id = headers.get("x-request-id")
    if request_id is not None and _REQUEST_ID.fullmatch(request_id):
        trace.append(("request_id", request_id.encode()))
    return trace


def body_of(request: Request, decoder: "msgspec.json.Decoder[T]") -> T:
    """The Struct in the body. Raises Problem."""
    check_media_type(single_of(request.headers, "content-type"))
    check_not_encoded(request.headers)
    return decode(decoder, request.body)


def check_not_encoded(headers: Header) -> None:
    """Raise Problem for a body that says it is compressed: nobody here would decompress it."""
    coding = headers.get("content-encoding")
    if coding is not None and coding.strip().lower() not in {"", "identity"}:
        raise Problem(
            problems.UNSUPPORTED_MEDIA_TYPE,
            f"The body came with Content-Encoding: {coding[:40]}; send it as it is, without one.",
            headers={"accept-encoding": "identity"},
        )


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
