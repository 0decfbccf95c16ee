"""What Schemathesis cannot know of a shop: which products exist, which cursors were given."""

import json
from collections import Counter
from typing import Any, Final
from zlib import crc32

import schemathesis

from gateway.http.problems import CONTENT_TYPE

PRODUCTS: Final = ("mug", "bowl", "carafe")
"""Products that are there from the start."""

ANSWERS: Final[Counter[tuple[str, int]]] = Counter()
"""How often which operation answered with which status."""

_SAY_INVALID: Final = frozenset(
    {
        *("malformed-request", "malformed-json", "invalid-body", "invalid-header", "invalid-identifier"),
        *("invalid-parameter", "idempotency-key-missing", "unsupported-media-type"),
    }
)
"""Types of problems that no valid request gets."""


class RefusedValidRequest(AssertionError):
    """A request that follows the document was answered as one that does not."""


@schemathesis.serializer("application/x-ndjson", "application/ndjson", "application/jsonl")
def lines(_: Any, value: Any) -> bytes:
    """One line for each product."""
    return b"".join(
        json.dumps(one).encode() + b"\n" for one in (value if isinstance(value, list) else [value])
    )


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Make of a valid request one of this shop; an invalid one stays as invalid as it is."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    name = case.operation.definition.raw.get("operationId", "")
    query = dict(case.query or {})
    query.pop("cursor", None)  # only a page before says which there are
    if "ids" in query:
        query = {"ids": ",".join(PRODUCTS)}
    case.query = query
    if query.get("erase") in {True, "true"}:
        # An erasure forgets every version.
        case.headers = {
            header: value
            for header, value in (case.headers or {}).items()
            if header.lower() not in {"if-match", "if-none-match"}
        }
    if name == "checkOut":
        case.headers = {"Idempotency-Key": f"key-{crc32(repr(case.body).encode())}", **(case.headers or {})}
    if name == "mintCart":
        case.headers = {**(case.headers or {}), "Idempotency-Key": f"key-of-a-mint-{case.id}"}
    if name in {"putProduct", "patchProduct"} and isinstance(case.body, dict):
        case.body.pop("version", None)  # this system owns the products
    _sell_what_there_is(case.body)


@schemathesis.hook
def after_call(_: Any, case: Any, response: Any) -> None:
    """Count the answer."""
    ANSWERS[case.operation.definition.raw.get("operationId", ""), response.status_code] += 1


@schemathesis.check
def valid_requests_are_understood(_: Any, response: Any, case: Any) -> None:
    """No request that follows the document is called invalid."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    media_type = (response.headers.get("content-type") or [""])[0]
    if not media_type.startswith(CONTENT_TYPE):
        return
    problem = response.json()
    if problem["type"].rpartition("/")[2] in _SAY_INVALID:
        raise RefusedValidRequest(f"{problem['type']}: {problem['detail']}")


def _sell_what_there_is(body: Any) -> None:
    match body:
        case dict() if isinstance(body.get("product_id"), str) and "quantity" in body:
            body["product_id"] = PRODUCTS[crc32(body["product_id"].encode()) % len(PRODUCTS)]
            for name in ("unit_price", "currency", "options"):
                body.pop(name, None)
        case dict():
            for member in body.values():
                _sell_what_there_is(member)
        case list():
            for member in body:
                _sell_what_there_is(member)
