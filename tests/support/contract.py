"""Holds what a gateway answers against its OpenAPI document."""

import re
from collections import Counter
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from gateway.http.problems import CONTENT_TYPE
from gateway.openapi import document

HEADERS: Final = frozenset(
    {
        *(
            "etag",
            "location",
            "retry-after",
            "preference-applied",
            "idempotency-replayed",
            "www-authenticate",
        ),
        *("cart-receipt", "cart-freshness", "cart-at", "ratelimit", "ratelimit-policy", "accept-encoding"),
    }
)
"""Headers that an answer has only where the document says so."""

_JSON: Final = "application/json"
_BODIES: Final = 3
"""Bodies of each kind that are looked at as a whole, which takes long: `make contract-test` does all."""


class UndescribedAnswer(AssertionError):
    """An answer that the document does not know; the message says what to add, and where."""


class Contract:
    """The document of this gateway, to look answers up in."""

    def __init__(self) -> None:
        self._document: Final = document()
        self._paths: Final = [
            (re.compile(re.sub(r"{\w+}", "[^/]+", path)), item)
            for path, item in self._sorted(self._document["paths"])
        ]
        self._bodies: Final[Counter[str]] = Counter()

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The operation that answers; None for one that no operation is: OPTIONS, 405, an unknown path."""
        wanted = "get" if method == "HEAD" else method.lower()
        for pattern, item in self._paths:
            if pattern.fullmatch(path) and wanted in item:
                found: dict[str, Any] = item[wanted]
                return found
        return None

    def check(self, method: str, path: str, status: int, headers: httpx.Headers, body: bytes | None) -> None:
        """Raise UndescribedAnswer for a status, a type of problem, a header or a body without description.

        `path` is as it was sent, without the query. `body` None: it is not known, or none.
        """
        operation = self.operation(method, path)
        if operation is None:
            return
        name = operation["operationId"]
        described = operation["responses"].get(str(status))
        if described is None:
            raise UndescribedAnswer(f"{name} answered {status}; add it to the operation: {body!r:.300}")
        known = {header.lower() for header in described.get("headers", {})}
        if unknown := HEADERS & {header.lower() for header in headers} - known:
            raise UndescribedAnswer(f"{name}, {status}: the document does not know {sorted(unknown)}")
        if body is None:
            return
        media_type = headers.get("content-type", "").partition(";")[0]
        if media_type not in described.get("content", {}):
            raise UndescribedAnswer(f"{name}, {status}: the document does not know {media_type or 'a body'}")
        if media_type == CONTENT_TYPE:
            slug = msgspec.json.decode(body)["type"].rpartition("/")[2]
            if slug not in described["content"][media_type]["examples"]:
                raise UndescribedAnswer(
                    f"{name}, {status}: add {slug} to the problems of the operation, or to a table of "
                    "gateway/http/openapi_problems.py"
                )
        if media_type in {_JSON, CONTENT_TYPE}:
            self._check_body(f"{name}, {status}", described["content"][media_type]["schema"], body)

    def _check_body(self, of: str, schema: dict[str, Any], body: bytes) -> None:
        self._bodies[of] += 1
        if self._bodies[of] > _BODIES:
            return
        whole = {**schema, "components": self._document["components"]}
        for error in Draft202012Validator(whole).iter_errors(msgspec.json.decode(body)):
            raise UndescribedAnswer(f"{of}: {error}")

    @staticmethod
    def _sorted(paths: dict[str, Any]) -> list[tuple[str, Any]]:
        """Fixed paths before those with parameters, which match them as well."""
        return sorted(paths.items(), key=lambda item: item[0].count("{"))


@lru_cache
def contract() -> Contract:
    """The contract of the code under test."""
    return Contract()


async def check_answer(response: httpx.Response) -> None:
    """Raise UndescribedAnswer for an answer that the document does not describe; a hook of HTTP clients."""
    request = response.request
    media_type = response.headers.get("content-type", "").partition(";")[0]
    has_body = request.method != "HEAD" and media_type in {_JSON, CONTENT_TYPE}
    if has_body:
        await response.aread()
    contract().check(
        request.method,
        request.url.raw_path.decode().partition("?")[0],
        response.status_code,
        response.headers,
        response.content if has_body and response.status_code != HTTPStatus.NO_CONTENT else None,
    )
