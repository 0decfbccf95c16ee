"""The descriptions of API and topics, in the OpenAPI description itself."""

from typing import Any, Final

from gateway.http.grammars import ENTITY_TAGS
from gateway.http.openapi import (
    HTML,
    JSON,
    empty_reply,
    header,
    operation,
    path_parameter,
    reply_header,
    text_reply,
)
from gateway.http.problems import NOT_FOUND

PARAMETERS: Final = {
    "file": path_parameter(
        "file",
        "a file that the page loads",
        "docs.js",
        {"type": "string", "pattern": r"^[a-z-]+\.(?:css|js)$"},
    ),
    "name": path_parameter(
        "name", "a kind of record", "carts", {"type": "string", "pattern": "^[a-z]+(?:-[a-z]+)*$"}
    ),
    "version": path_parameter(
        "version", "of its schema", "3", {"type": "string", "pattern": "^[1-9][0-9]{0,3}$"}
    ),
}

_KEPT: Final = {"ETag": reply_header("changes with the content", '"c4ba3a1b2f1e4c5d"')}
_UNLESS: Final = header(
    "If-None-Match", "ETag of an earlier reply: 304 if nothing has changed", '"x"', ENTITY_TAGS
)


def _document(
    description: str, *members: str, example: dict[str, Any] | None = None, media_type: str = JSON
) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"type": "object", "required": [*members]}}
    if example is not None:
        content["examples"] = {"example": {"value": example}}
    return {"description": description, "content": {media_type: content}}


DOCUMENT: Final = operation(
    "readOpenApi", "This document", {"200": _document("The document", "openapi", "info", "paths")}
)
TOPICS: Final = operation(
    "readAsyncApi",
    "What is published in Kafka, as an AsyncAPI 3.0 document",
    {
        "200": _document(
            "The document",
            *("asyncapi", "info", "channels"),
            example={
                "asyncapi": "3.0.0",
                "info": {"title": "cartstream topics", "version": "0.1.0"},
                "channels": {"carts": {"address": "carts"}},
            },
        )
    },
)
SCHEMA: Final = operation(
    "readSchema",
    "The JSON Schema of a kind of record: where `ce_dataschema` of records leads",
    {
        "200": _document(
            "The schema",
            *("$schema", "$id"),
            example={
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$id": "urn:cartstream:schema:carts:3",
            },
            media_type="application/schema+json",
        )
    },
    problems=(NOT_FOUND,),
)
PAGE: Final = operation(
    "showDocs", "The same, to read in a browser", {"200": text_reply("The page", HTML, "<!doctype html>…")}
)
FILE: Final = operation(
    "readDocsFile",
    "A file of that page",
    {
        "200": {
            "description": "The file",
            "headers": _KEPT,
            "content": {
                "text/javascript": {"schema": {"type": "string"}},
                "text/css": {"schema": {"type": "string"}},
            },
        },
        "304": empty_reply("Not changed since the ETag in If-None-Match", _KEPT),
    },
    problems=(NOT_FOUND,),
    parameters=[_UNLESS],
)
