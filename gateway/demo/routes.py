"""The routes of the demo shop; there are none in production mode."""

from typing import Final

from sanic import Request
from sanic.response import HTTPResponse

from gateway.demo.origin import is_from_own_page
from gateway.demo.pages import Page, read_pages
from gateway.demo.service import RedisWipe
from gateway.http import problems
from gateway.http.problems import Problem
from gateway.http.requests import is_current
from gateway.http.responses import json_response
from gateway.http.routing import route
from gateway.identity.access import Access

_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)


class DemoRoutes:
    """Handlers of one app."""

    def __init__(self, wipe: RedisWipe, mailbox_url: str, ops_url: str) -> None:
        """`mailbox_url`, `ops_url`: pages of mailbox and operations, to which the demo links."""
        self._wipe: Final = wipe
        self._pages: Final = read_pages(mailbox_url, ops_url)

    @route("GET", "/", Access.PUBLIC)
    async def start(self, request: Request) -> HTTPResponse:
        """Where to go from here."""
        return _served(request, self._pages["start.html"])

    @route("GET", "/demo", Access.PUBLIC)
    async def demo(self, request: Request) -> HTTPResponse:
        """The demo shop."""
        return _served(request, self._pages["demo.html"])

    @route("GET", "/demo/{name}", Access.PUBLIC)
    async def file(self, request: Request, name: str) -> HTTPResponse:
        """A file of these pages."""
        page = self._pages.get(name)
        if page is None:
            raise Problem(problems.NOT_FOUND, "The demo has no such file; its page is /demo.")
        return _served(request, page)

    @route("POST", "/demo/wipe", Access.PUBLIC)
    async def wipe(self, request: Request) -> HTTPResponse:
        """Delete everything in Redis; the button on the demo's page does it."""
        if not is_from_own_page(request.headers):
            raise Problem(
                problems.FORBIDDEN,
                "Only the demo's own page may wipe Redis: open /demo as localhost or 127.0.0.1.",
            )
        return json_response(await self._wipe.wipe())


def _served(request: Request, page: Page) -> HTTPResponse:
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": _POLICY,
        "etag": f'"{page.tag}"',
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    if is_current(request.headers, page.tag):
        return HTTPResponse(b"", status=304, headers=headers)
    return HTTPResponse(page.body, content_type=page.media_type, headers=headers)
