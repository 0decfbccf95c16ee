"""The parameters of a request about the history of a cart."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any, Final

from sanic import Request

from carts.limits import MAX_SAFE_INTEGER
from carts.view import last_version_of
from gateway.http.problems import Problem
from gateway.http.requests import bad_parameter, number_in
from store.postgres.history import NEWEST, Position

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100

_VERSION: Final = re.compile(r"[1-9][0-9]{0,15}")
# A + that was not percent-encoded is a space by now; nothing else can have been meant.
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:[Zz]|([ +-])(\d\d:\d\d))", re.ASCII
)
_CURSOR: Final = re.compile(r"([0-9]{1,16}):(.*)", re.DOTALL)
LONGEST_CURSOR: Final = 1024


def page_of(request: Request) -> tuple[Position, int]:
    """The position before which a page begins, and its limit. Raises Problem."""
    limit = number_in(request, "limit", DEFAULT_LIMIT, MAX_LIMIT) or DEFAULT_LIMIT
    cursor = _argument(request, "cursor")
    return Position(NEWEST, "") if cursor is None else _position(cursor), limit


def cursor_of(position: Position) -> str:
    """The cursor of the page after a position."""
    return urlsafe_b64encode(f"{position.version}:{position.op_id}".encode()).decode().rstrip("=")


def version_in(request: Request) -> int | None:
    """The version number that `at` asks for, itself or by a time; None without it. Raises Problem."""
    text = _argument(request, "at")
    if text is None:
        return None
    if _VERSION.fullmatch(text) and int(text) <= MAX_SAFE_INTEGER:
        return int(text)
    if (time := _time(text)) is not None:
        return last_version_of(time)
    raise bad_parameter(
        "at",
        f"is {text[:40]!r}; send a version number, as the history has it, or a time with its offset, "
        "such as 2026-11-28T06:53:01Z",
    )


def _position(cursor: str) -> Position:
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        text = urlsafe_b64decode(padded.encode("ascii")).decode() if len(cursor) <= LONGEST_CURSOR else ""
    except ValueError:
        text = ""
    found = _CURSOR.fullmatch(text)
    if found is None or "\0" in text:
        raise _bad_cursor()
    return Position(int(found[1]), found[2])


def _bad_cursor() -> Problem:
    return bad_parameter("cursor", "is none; send next_cursor of the page before")


def _time(text: str) -> datetime | None:
    """The time in RFC 3339, None if it is none."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    offset = "+00:00" if found[4] is None else found[3].replace(" ", "+") + found[4]
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2][:15]}{offset}")
    except ValueError:
        return None


def _argument(request: Request, name: str) -> str | None:
    arguments: Any = request.get_args(keep_blank_values=True)
    value: str | None = arguments.get(name)
    return value
