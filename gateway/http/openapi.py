"""How features describe their routes for the OpenAPI document.

A description is made of the dictionaries that OpenAPI asks for, except that a Struct stands where the
document has a reference to its schema, and a Struct's value where it has an example. So no description can
name a schema that the document lacks, and no example has a field that the code does not know.
`gateway/http/openapi_document.py` makes the document of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.http.problems import ProblemType

JSON: Final = "application/json"
HTML: Final = "text/html"
EVENTS: Final = "text/event-stream"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a route is asked and what it answers, without what holds for every route of its kind.

    `replies` are those that are no problems, by status. `problems` are those of this route;
    `gateway/http/openapi_problems.py` names what every route may answer, or every one with a body.
    `parameters` are those beside the path's.
    """

    operation_id: str
    summary: str
    replies: Mapping[str, Any]
    problems: tuple[ProblemType, ...] = ()
    parameters: Sequence[dict[str, Any]] = ()
    body: dict[str, Any] | None = None


def operation(
    operation_id: str,
    summary: str,
    replies: Mapping[str, Any],
    *,
    problems: tuple[ProblemType, ...] = (),
    parameters: Sequence[dict[str, Any]] = (),
    body: dict[str, Any] | None = None,
) -> Operation:
    """An operation; see there."""
    return Operation(
        operation_id=operation_id,
        summary=summary,
        replies=replies,
        problems=problems,
        parameters=parameters,
        body=body,
    )


def header(name: str, description: str, example: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """A request header that may be left out; a text unless there is a `schema`."""
    return _parameter(name, "header", description, example, schema)


def query(
    name: str, description: str, example: object, schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A query parameter that may be left out; a text unless there is a `schema`."""
    return _parameter(name, "query", description, example, schema)


def number(name: str, description: str, example: int, most: int) -> dict[str, Any]:
    """A query parameter from 1 to `most` that may be left out."""
    return query(name, description, example, {"type": "integer", "minimum": 1, "maximum": most})


def path_parameter(name: str, description: str, example: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter in the path."""
    return _parameter(name, "path", description, example, schema) | {"required": True}


def reply_header(description: str, example: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """A header of a reply."""
    return {"description": description, "schema": schema or {"type": "string"}, "example": example}


def reply(
    description: str,
    *structs: type[msgspec.Struct],
    example: object,
    headers: dict[str, Any] | None = None,
    links: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """A reply whose body is one of these Structs, such as `example`: a value, or values by name.

    `links`: operations that go on from here, with the parameter that they get and the member that it is.
    """
    found: dict[str, Any] = {
        "description": description,
        "content": {JSON: {"schema": schema(*structs), "examples": _examples(example)}},
    }
    if links:
        found["links"] = {
            operation_id: {
                "operationId": operation_id,
                "parameters": {parameter: f"$response.body#/{member}"},
            }
            for operation_id, (parameter, member) in links.items()
        }
    return _with_headers(found, headers)


def text_reply(
    description: str, media_type: str, example: str, headers: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A reply whose body is a text, such as a page."""
    # Events are no single text: tools that know them look at each by itself, and at its text.
    shape = {} if media_type == EVENTS else {"type": "string"}
    content = {"schema": shape, "examples": _examples(example)}
    return _with_headers({"description": description, "content": {media_type: content}}, headers)


def empty_reply(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """A reply without a body."""
    return _with_headers({"description": description}, headers)


def json_body(
    struct: type[msgspec.Struct], example: object, *, required: bool = True, media_type: str = JSON
) -> dict[str, Any]:
    """A JSON body, such as `example`: a value, or values by name."""
    return {
        "required": required,
        "content": {media_type: {"schema": schema(struct), "examples": _examples(example)}},
    }


def schema(*structs: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of one of these Structs, as it stands in a description."""
    references = [{"$ref": struct} for struct in structs]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _examples(example: object) -> dict[str, Any]:
    named = example if isinstance(example, dict) else {"example": example}
    return {name: {"value": value} for name, value in named.items()}


def _with_headers(found: dict[str, Any], headers: dict[str, Any] | None) -> dict[str, Any]:
    return found | ({"headers": headers} if headers else {})


def _parameter(
    name: str, place: str, description: str, example: object, schema: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": False,
        "description": description,
        "schema": schema or {"type": "string"},
        "example": example,
    }
