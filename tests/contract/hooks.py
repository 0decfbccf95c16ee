"""What Schemathesis cannot know of a shop: which products exist, which cursors were given."""

import json
import re
from collections import Counter
from collections.abc import Container, Mapping
from typing import Any, Final
from zlib import crc32

import schemathesis
from schemathesis.generation.meta import CoverageScenario

from gateway.http.grammars import ENTITY_TAGS
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


_OTHER_PROOFS: Final = frozenset({"cart-token", "cart-session"})
_CONDITIONS: Final = frozenset({"if-match", "if-none-match"})


class RefusedValidRequest(AssertionError):
    """A request that follows the document was answered as one that does not."""


@schemathesis.serializer("application/x-ndjson", "application/ndjson", "application/jsonl")
def lines(_: Any, value: Any) -> bytes:
    """One line for each product."""
    return b"".join(
        json.dumps(one).encode() + b"\n" for one in (value if isinstance(value, list) else [value])
    )


@schemathesis.hook
def filter_case(_: Any, case: Any) -> bool:
    """Leave out requests that lack the proof: it is sent with all, and `ignored_auth` asks without it."""
    data: Any = case.meta.phase.data if case.meta is not None else None
    lacks = getattr(data, "scenario", None) is CoverageScenario.MISSING_PARAMETER
    return not (lacks and data.parameter == "Authorization")


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Make of a valid request one of this shop; an invalid one stays as invalid as it is."""
    # Proofs that nobody has made prove nothing: the service's own does, beside which they would be looked at.
    case.headers = _without(_OTHER_PROOFS | _stand_ins(case), case.headers)
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    name = case.operation.definition.raw.get("operationId", "")
    case.query = _query_of(dict(case.query or {}))
    case.headers = _headers_of(name, case.id, dict(case.headers or {}), erases=bool(case.query.get("erase")))
    if name == "mergeGuestCart":
        case.body = {"guest": f"guest:of-{case.id}"}
    if name in {"putProduct", "patchProduct"} and isinstance(case.body, dict):
        case.body.pop("version", None)  # this system owns the products
    _sell_what_there_is(case.body)


def _stand_ins(case: Any) -> set[str]:
    """Conditions that stand in for others in a request which is not about them, valid ones among these.

    For headers whose grammar asks for more than letters and digits Schemathesis makes no text, and puts the
    first one in that it has made to be refused.
    """
    about = getattr(case.meta.phase.data, "parameter", None) if case.meta is not None else None
    return {
        name.lower()
        for name, value in (case.headers or {}).items()
        if name.lower() in _CONDITIONS and name != about and not re.search(ENTITY_TAGS["pattern"], str(value))
    }


def _query_of(query: dict[str, Any]) -> dict[str, Any]:
    for name in ("cursor", "ticket"):  # only an answer before says which there are
        query.pop(name, None)
    return {"ids": ",".join(PRODUCTS)} if "ids" in query else query


def _headers_of(name: str, case_id: str, headers: dict[str, Any], *, erases: bool) -> dict[str, Any]:
    if name == "checkOut":
        headers = {"Idempotency-Key": f"key-of-{case_id}"} | headers
    if name == "mintCart":
        headers = _without({"idempotency-key"}, headers)
        headers["Idempotency-Key"] = f"nobody-can-guess-that-{case_id}"
    # An erasure forgets every version; and few of the others would do anything with conditions.
    if erases or crc32(case_id.encode()) % 4:
        headers = _without(_CONDITIONS, headers)
    return headers


def _without(names: Container[str], headers: Mapping[str, Any] | None) -> dict[str, Any]:
    return {header: value for header, value in (headers or {}).items() if header.lower() not in names}


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
