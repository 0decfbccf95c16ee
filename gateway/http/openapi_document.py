"""Makes the OpenAPI document of the features' descriptions."""

from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import Any, Final

import msgspec

from gateway.http.grammars import JSON_VALUE, JSON_VALUE_SCHEMA
from gateway.http.openapi import Operation, reply_header
from gateway.http.openapi_problems import examples, problems_of, refusals
from gateway.http.openapi_replies import always_sent
from gateway.http.routing import Route, routes_of
from gateway.identity.access import SERVICES_ONLY, Access

_SCHEMAS: Final = "#/components/schemas/"
_QUOTAS: Final = {
    "RateLimit-Policy": reply_header("quotas that count, where one does", '"shopper";q=600;w=60'),
    "RateLimit": reply_header("what is left of them", '"shopper";r=599;t=1'),
}
"""Headers of every reply."""
_OF_QUOTAS: Final = {name: {"$ref": f"#/components/headers/{name}"} for name in _QUOTAS}


class Tag(msgspec.Struct, frozen=True):
    """A part of the API: what it is called, and what it is for."""

    name: str
    description: str


def paths_of(
    features: Iterable[tuple[type, Tag]], parameters: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """The paths of the document: every described route of these classes, under their tags.

    `parameters` describes the parameters of all paths by their names. KeyError: one is not described.
    """
    paths: dict[str, Any] = {}
    for feature, tag in features:
        for _, route in routes_of(feature):
            if route.operation is None:
                continue
            path = paths.setdefault(route.path, {})
            if route.parameters:
                path["parameters"] = [parameters[name] for name in route.parameters]
            path[route.methods[0].lower()] = _described(route, route.operation, tag)
    return paths


def with_components(
    paths: dict[str, Any],
    further: Iterable[type[msgspec.Struct]],
    rules: Mapping[str, dict[str, Any]],
    security_schemes: dict[str, Any],
) -> dict[str, Any]:
    """Members `paths` and `components` of the document: references instead of Structs, and their schemas.

    `further`: Structs that no description names, such as members of problems. `rules`, by the name of a
    schema, are between its members: types do not tell them.
    """
    sent: dict[type[msgspec.Struct], None] = dict.fromkeys(further)
    asked: dict[type[msgspec.Struct], None] = {}

    def refer(node: Any, structs: dict[type[msgspec.Struct], None]) -> Any:
        match node:
            case {"$ref": type() as struct}:
                structs[struct] = None
                return {"$ref": _SCHEMAS + struct.__name__}
            case Mapping():
                return {
                    name: refer(member, asked if name == "requestBody" else structs)
                    for name, member in node.items()
                }
            case list() | tuple():
                return [refer(member, structs) for member in node]
            case msgspec.Struct():
                return msgspec.to_builtins(node)
        return node

    referring = refer(paths, sent)
    _, schemas = msgspec.json.schema_components({**sent, **asked}, ref_template=_SCHEMAS + "{name}")
    always = always_sent(sent, asked)
    return {
        "paths": referring,
        "components": {
            "schemas": {
                name: _told(found) | always.get(name, {}) | rules.get(name, {})
                for name, found in sorted({**schemas, JSON_VALUE: JSON_VALUE_SCHEMA}.items())
            },
            "examples": examples(),
            "headers": _QUOTAS,
            "securitySchemes": security_schemes,
        },
    }


def _described(route: Route, operation: Operation, tag: Tag) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "tags": [tag.name],
        "security": _security(route.access),
    }
    if operation.parameters:
        found["parameters"] = list(operation.parameters)
    if operation.body is not None:
        found["requestBody"] = operation.body
    replies = {**operation.replies, **refusals(problems_of(route, operation))}
    found["responses"] = {
        status: {**reply, "headers": {**reply.get("headers", {}), **_OF_QUOTAS}}
        for status, reply in replies.items()
    }
    return found


def _security(access: Access) -> list[dict[str, Any]]:
    if access is Access.PUBLIC:
        return []
    schemes = ["bearer"]
    if access not in SERVICES_ONLY:
        schemes += ["cartToken", "cartSession"]
    if access is Access.CART_STREAM:
        schemes.append("streamTicket")
    return [{scheme: []} for scheme in schemes]


def _told(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its description as a docstring is read."""
    description = schema.get("description")
    return schema if description is None else schema | {"description": cleandoc(description)}
