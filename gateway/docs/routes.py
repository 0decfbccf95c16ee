"""The routes of the descriptions: of the API for programs and for people, of topics and their records."""

import re
from typing import Any, Final

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from gateway.docs import openapi
from gateway.docs.files import page, page_files, pieces
from gateway.http.problems import NOT_FOUND, Problem
from gateway.http.requests import is_current
from gateway.http.responses import html_response
from gateway.http.routing import route
from gateway.identity.access import Access
from topics import asyncapi
from topics.published import schema

_VERSION: Final = re.compile("[1-9][0-9]{0,3}")


class DocsRoutes:
    """Handlers of one app."""

    def __init__(self, document: dict[str, Any], partitions: int, others: int | None = None) -> None:
        """`document`: the OpenAPI document; `partitions` of the topics of carts, and of all `others`."""
        self._partitions: Final = partitions
        self._others: Final = others
        self._document: Final = msgspec.json.encode(document)
        self._page: Final = page()
        self._files: Final = page_files()

    @route("GET", "/openapi.json", Access.PUBLIC, openapi.DOCUMENT)
    async def api(self, _: Request) -> HTTPResponse:
        """The OpenAPI 3.1 document."""
        return HTTPResponse(self._document, content_type="application/json")

    @route("GET", "/asyncapi.json", Access.PUBLIC, openapi.TOPICS)
    async def topics(self, _: Request) -> HTTPResponse:
        """The AsyncAPI 3.0 document."""
        return HTTPResponse(asyncapi.served(self._partitions, self._others), content_type="application/json")

    @route("GET", "/schemas/{name}/{version}", Access.PUBLIC, openapi.SCHEMA)
    async def schema(self, _: Request, name: str, version: str) -> HTTPResponse:
        """A schema of records; a published one never changes."""
        found = schema(name, int(version)) if _VERSION.fullmatch(version) else None
        if found is None:
            raise Problem(NOT_FOUND, "No record has this schema; /asyncapi.json lists the records.")
        return HTTPResponse(msgspec.json.encode(found), content_type="application/schema+json")

    @route("GET", "/docs", Access.PUBLIC, openapi.PAGE)
    async def docs(self, _: Request) -> HTTPResponse:
        """The same, to look at."""
        return html_response(self._page, files=True)

    @route("GET", "/docs/{file}", Access.PUBLIC, openapi.FILE)
    async def file(self, request: Request, file: str) -> HTTPResponse | None:
        """A file of the page."""
        found = self._files.get(file)
        if found is None:
            raise Problem(NOT_FOUND, "The reference has no such file; its page is /docs.")
        headers = {
            "etag": f'"{found.tag}"',
            "cache-control": "no-cache",
            "x-content-type-options": "nosniff",
        }
        if is_current(request.headers, found.tag):
            return HTTPResponse(b"", status=304, headers=headers)
        headers["content-length"] = str(found.size)
        if request.method == "HEAD":
            return HTTPResponse(b"", headers=headers, content_type=found.media_type)
        response = await request.respond(headers=headers, content_type=found.media_type)
        async for piece in pieces(found):
            await response.send(piece)
        await response.eof()
        return None
