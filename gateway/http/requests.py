"""What routes of several features take out of a request."""

from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from sanic import Request

from carts.errors import InvalidIdentifier
from carts.ids import check_cart_id
from gateway.http import problems
from gateway.http.problems import FieldError, Problem, body_too_large
from gateway.http.validation import check_media_type, decode

T = TypeVar("T")


def cart_id_in(segment: str) -> str:
    """The cart id in a segment of the path. Raises Problem if it is none."""
    try:
        return check_cart_id(unquote(segment) if "%" in segment else segment)
    except InvalidIdentifier as error:
        raise Problem(
            problems.INVALID_IDENTIFIER, f"The cart id in the path is not valid: {error.advice}."
        ) from error


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
