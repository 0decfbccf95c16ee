"""The routes of the API's description: the document for programs, a page for people."""

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


class DocsRoutes:
    """Handlers of one app."""

    def __init__(self, document: dict[str, Any]) -> None:
        """`document`: the OpenAPI document."""
        self._document: Final = msgspec.json.encode(document)
        self._page: Final = page()
        self._files: Final = page_files()

    @route("GET", "/openapi.json", Access.PUBLIC, openapi.DOCUMENT)
    async def api(self, _: Request) -> HTTPResponse:
        """The OpenAPI 3.1 document."""
        return HTTPResponse(self._document, content_type="application/json")

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
