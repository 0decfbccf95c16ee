"""Helpers for the OpenAPI descriptions of the features, and for the document that they become.

A description is the dictionary that OpenAPI asks for, except that a Struct stands where the document has a
reference to its schema. So no description can name a schema that the document lacks.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.http import problems
from gateway.http.problems import FieldError, ProblemType
from gateway.http.routing import routes_of
from gateway.identity.access import SERVICES_ONLY, Access

_SCHEMAS: Final = "#/components/schemas/"


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


def operation(
    operation_id: str,
    summary: str,
    responses: dict[str, Any],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An operation; `parameters` are those beside the path's."""
    found: dict[str, Any] = {"operationId": operation_id, "summary": summary, "responses": responses}
    if parameters is not None:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = body
    return found


def header(name: str, description: str) -> dict[str, Any]:
    """A request header that may be left out."""
    return _parameter(name, "header", description, "string")


def query(name: str, description: str, kind: str = "string") -> dict[str, Any]:
    """A query parameter that may be left out."""
    return _parameter(name, "query", description, kind)


def reply_header(description: str) -> dict[str, Any]:
    """A header of a reply."""
    return {"description": description, "schema": {"type": "string"}}


def reply(
    description: str, *structs: type[msgspec.Struct], headers: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A reply whose JSON is one of these Structs."""
    found = {"description": description, "content": {"application/json": {"schema": schema(*structs)}}}
    return found | ({"headers": headers} if headers else {})


def errors(*statuses: int) -> dict[str, Any]:
    """The problems that a route may answer with, by status."""
    kinds = problem_types()
    return {
        str(status): {
            "description": "; ".join(f"{kind.title} ({kind.uri})" for kind in kinds if kind.status == status),
            "content": {problems.CONTENT_TYPE: {"schema": schema(ProblemDocument)}},
        }
        for status in statuses
    }


def json_body(struct: type[msgspec.Struct], *, required: bool = True) -> dict[str, Any]:
    """A JSON body."""
    return {"required": required, "content": {"application/json": {"schema": schema(struct)}}}


def schema(*structs: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of one of these Structs, as it stands in a description."""
    references = [{"$ref": struct} for struct in structs]
    return references[0] if len(references) == 1 else {"anyOf": references}


def paths_of(features: Iterable[type], parameters: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The paths of the document: every described route of these classes.

    `parameters` describes the parameters of all paths by their names. KeyError: one is not described.
    """
    paths: dict[str, Any] = {}
    for feature in features:
        for _, route in routes_of(feature):
            if route.operation is None:
                continue
            path = paths.setdefault(route.path, {})
            if route.parameters:
                path["parameters"] = [parameters[name] for name in route.parameters]
            path[route.methods[0].lower()] = _for_callers(route.access, route.operation)
    return paths


def with_schemas(
    paths: dict[str, Any], further: Iterable[type[msgspec.Struct]], security_schemes: dict[str, Any]
) -> dict[str, Any]:
    """Members `paths` and `components` of the document: references instead of Structs, and their schemas.

    `further`: Structs that no description names, such as members of problems.
    """
    structs: dict[type[msgspec.Struct], None] = dict.fromkeys(further)

    def refer(node: Any) -> Any:
        match node:
            case {"$ref": struct}:
                structs[struct] = None
                return {"$ref": _SCHEMAS + struct.__name__}
            case dict():
                return {name: refer(member) for name, member in node.items()}
            case list():
                return [refer(member) for member in node]
        return node

    referring = refer(paths)
    _, schemas = msgspec.json.schema_components(structs, ref_template=_SCHEMAS + "{name}")
    return {
        "paths": referring,
        "components": {"schemas": schemas, "securitySchemes": security_schemes},
    }


def _for_callers(access: Access, operation: dict[str, Any]) -> dict[str, Any]:
    """The operation with what its callers must prove, and what they are answered without."""
    if access is Access.PUBLIC:
        return operation | {"security": []}
    schemes = ("bearer",) if access in SERVICES_ONLY else ("bearer", "cartToken", "cartSession")
    if access is Access.CART_STREAM:
        schemes = (*schemes, "streamTicket")
    refused = errors(401, 403) if access in SERVICES_ONLY else errors(401, 403, 404)
    return operation | {
        "security": [{scheme: []} for scheme in schemes],
        "responses": refused | operation["responses"],
    }


def _parameter(name: str, place: str, description: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": False,
        "description": description,
        "schema": {"type": kind},
    }
