"""The tables of what a route may refuse with, beside its own problems, and how the document shows each.

A new type of problem belongs into one of these tables or to the `problems` of the operations that answer it.
The tests of the gateway compare every answer with the document, so they name what is missing.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec

from gateway.http import problems
from gateway.http.openapi import Operation, reply_header
from gateway.http.problems import FieldError, ProblemType, problem_types
from gateway.http.routing import Route
from gateway.identity.access import SERVICES_ONLY, Access

EVERYWHERE: Final = (
    problems.MALFORMED_REQUEST,
    problems.INVALID_HEADER,
    problems.REQUEST_TIMEOUT,
    problems.BODY_TOO_LARGE,
    problems.URI_TOO_LONG,
    problems.EXPECTATION_FAILED,
    problems.MISDIRECTED,
    problems.HEADERS_TOO_LARGE,
    problems.RATE_LIMITED,
    problems.INTERNAL_ERROR,
    problems.OVERLOADED,
    problems.CONNECTIONS_FULL,
    problems.BODIES_FULL,
    problems.DEADLINE_EXCEEDED,
)
"""Whatever is asked may be refused with these, most of them before a route is looked for."""

WITH_BODY: Final = (problems.MALFORMED_JSON, problems.UNSUPPORTED_MEDIA_TYPE, problems.INVALID_BODY)
"""What a body may be refused with."""

NO_OPERATION: Final = (problems.METHOD_NOT_ALLOWED, problems.CLIENT_GONE)
"""Of addresses that do not know the method, and of clients that no answer reaches: in no operation."""

_IDENTIFIERS: Final = {"cart_id", "line_id", "product_id"}
"""Parameters of paths that are looked at before anything is looked for."""

_INTO: Final = {"into": "user:42"}
_PLACE: Final = "/items/0/quantity"
EXTRA: Final[Mapping[ProblemType, Mapping[str, Any]]] = {
    problems.CART_OUTDATED: {
        "differences": [{"line_id": "mug", "code": "price_changed", "unit_price": 2099, "currency": "EUR"}],
        "total": 4198,
        "currency": "EUR",
    },
    problems.CHECKOUT_CLOSED: {"checkout_status": "cancelled", "order_id": None},
    problems.CLAIMED: _INTO,
    problems.CURRENCY_CHANGED: {"product_id": "mug", "unit_price": 2099, "currency": "CHF"},
    problems.INVALID_BODY: {"errors": [FieldError(_PLACE, "must be an integer >= 1")]},
    problems.LIMIT_EXCEEDED: {
        "errors": [FieldError("", "the cart shows at most 500 lines; remove some first")],
        "limit": "lines",
        "bound": 500,
    },
    problems.MERGED: _INTO,
    problems.NOT_IN_HISTORY: {"known_from": "2026-11-28T06:53:01Z", "kept_from": None},
    problems.NOT_READY: {"readiness": "not_ready"},
    problems.OPTION_NOT_OFFERED: {"option": "size", "values": ["S", "M"]},
    problems.PRECONDITION_FAILED: {"current": "3596012345678902-7-0c35d1a09b7e"},
    problems.PRICE_CHANGED: {"product_id": "mug", "unit_price": 2099, "currency": "EUR"},
    problems.PRICING_UNAVAILABLE: {"total": 4198},
    problems.PRODUCT_INACTIVE: {"product_id": "mug"},
    problems.PRODUCT_UNKNOWN: {"product_id": "mug"},
    problems.RATE_LIMITED: {"violated-policies": ["shopper"]},
    problems.SHORT_STOCK: {"product_id": "mug", "available": 3},
    problems.VERSION_TOO_LOW: {"current": "8"},
}
"""Members of its own that a type of problem has, by example."""

_RETRY: Final = {"Retry-After": reply_header("seconds", "1", {"type": "integer", "minimum": 1})}
HEADERS_BY_STATUS: Final[Mapping[int, Mapping[str, Any]]] = {
    401: {"WWW-Authenticate": reply_header("how to prove who calls", 'Bearer realm="cartstream"')},
    412: {"ETag": reply_header("of what is there", '"3596012345678902-7-0c35d1a09b7e"')},
    415: {
        "Accept": reply_header("the media type to send", "application/json"),
        "Accept-Encoding": reply_header("instead of a Content-Encoding", "identity"),
    },
    429: _RETRY,
    503: _RETRY,
}
"""Headers of problems beside Content-Type."""
HEADERS_BY_TYPE: Final[Mapping[ProblemType, Mapping[str, Any]]] = {
    problems.CHECKOUT_IN_PROGRESS: _RETRY,
    problems.CLAIMED: _RETRY,
    problems.DURABILITY_NOT_REACHED: {
        "Preference-Applied": reply_header("the durability reached", "durability=redis, handling=strict")
    },
}
"""Those that come with a type only."""


class Problem(msgspec.Struct):
    """An error (RFC 9457). `detail` says what to do; `errors` point into the body (RFC 6901).

    Some types have members of their own beside these; the examples show them.
    """

    type: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [kind.uri for kind in problem_types()]})]
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str
    errors: list[FieldError] | msgspec.UnsetType = msgspec.UNSET


def problems_of(route: Route, operation: Operation) -> list[ProblemType]:
    """All that a route may refuse with, by status."""
    found = {*EVERYWHERE, *operation.problems, *_of_access(route.access)}
    if operation.body is not None:
        found |= {*WITH_BODY}
    if _IDENTIFIERS & {*route.parameters}:
        found.add(problems.INVALID_IDENTIFIER)
    if any(parameter["in"] == "query" for parameter in operation.parameters):
        found.add(problems.INVALID_PARAMETER)
    return sorted(found, key=lambda kind: (kind.status, kind.slug))


def refusals(kinds: Iterable[ProblemType]) -> dict[str, Any]:
    """The replies that are problems of these types, by status."""
    by_status: dict[int, list[ProblemType]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {str(status): _refusal(status, found) for status, found in by_status.items()}


def examples() -> dict[str, Any]:
    """The components that show each type of problem, by its slug."""
    return {kind.slug: {"summary": kind.title, "value": _example(kind)} for kind in problem_types()}


def _of_access(access: Access) -> tuple[ProblemType, ...]:
    if access is Access.PUBLIC:
        return ()
    if access in SERVICES_ONLY - {Access.ORDERS_SERVICE}:
        return problems.UNAUTHENTICATED, problems.FORBIDDEN
    return problems.UNAUTHENTICATED, problems.FORBIDDEN, problems.CART_NOT_FOUND


def _refusal(status: int, kinds: list[ProblemType]) -> dict[str, Any]:
    shown = {kind.slug: {"$ref": f"#/components/examples/{kind.slug}"} for kind in kinds}
    found: dict[str, Any] = {
        "description": "; ".join(f"{kind.title} (`{kind.uri}`)" for kind in kinds),
        "content": {problems.CONTENT_TYPE: {"schema": {"$ref": Problem}, "examples": shown}},
    }
    headers = dict(HEADERS_BY_STATUS.get(status, {}))
    for kind in kinds:
        headers |= HEADERS_BY_TYPE.get(kind, {})
    return found | ({"headers": headers} if headers else {})


def _example(kind: ProblemType) -> dict[str, Any]:
    own: dict[str, Any] = msgspec.to_builtins(EXTRA.get(kind, {}))
    return {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}. What happened, and what to do about it, stands here.",
    } | own
