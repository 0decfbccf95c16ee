"""The parameters of a request for orders."""

from typing import Final

from sanic import Request

from gateway.http.requests import number_in

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
MAX_SEQ: Final = 2**31 - 1


def page_of(request: Request) -> tuple[int | None, int]:
    """The cursor (orders with lower numbers follow) and the limit of a page. Raises Problem."""
    before = number_in(request, "cursor", None, MAX_SEQ)
    return before, number_in(request, "limit", DEFAULT_LIMIT, MAX_LIMIT) or DEFAULT_LIMIT
