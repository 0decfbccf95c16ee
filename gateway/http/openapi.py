"""The words of which the OpenAPI description of each feature is made."""

from typing import Any

import msgspec

from gateway.http import problems
from gateway.http.problems import FieldError, ProblemType


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """An error (RFC 9457). `detail` says what to do; `errors` point into the body (RFC 6901)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


def problem_types() -> list[ProblemType]:
    """Every type of problem, by status."""
    found = [value for value in vars(problems).values() if isinstance(value, ProblemType)]
    return sorted(found, key=lambda kind: (kind.status, kind.slug))


def header(name: str, description: str) -> dict[str, Any]:
    """A request header that may be left out."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


def reply(description: str, schema: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """A reply whose JSON is a Struct of this name."""
    found: dict[str, Any] = {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }
    return found | ({"headers": headers} if headers else {})


def errors(*statuses: int) -> dict[str, Any]:
    """The problems that a route may answer with, by status."""
    kinds = problem_types()
    return {
        str(status): {
            "description": "; ".join(f"{kind.title} ({kind.uri})" for kind in kinds if kind.status == status),
            "content": {problems.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
        for status in statuses
    }


def plain(operation_id: str, summary: str, media_type: str) -> dict[str, Any]:
    """An operation without parameters that answers 200."""
    return {
        "operationId": operation_id,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {media_type: {}}}},
    }


def json_body(schema: str) -> dict[str, Any]:
    """A required JSON body, a Struct of this name."""
    return {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }
