"""The HTTP routes of links: who has one has proven enough."""

from typing import Final

from sanic import Request
from sanic.response import HTTPResponse, text

from gateway.http.responses import html_response, json_response
from gateway.http.routing import route
from gateway.identity.access import Access
from gateway.recovery import openapi
from gateway.recovery.service import Recovery

# A link must not get to other sites, nor into caches.
_PRIVATE: Final = {"referrer-policy": "no-referrer", "cache-control": "private, no-store"}
_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Unsubscribe</title>
<form method="post"><p>No more mails about carts you have left behind?</p>
<button>Unsubscribe</button></form></html>
"""


class RecoveryRoutes:
    """Handlers of one app."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery

    @route("GET", "/v1/recover/{link}", Access.PUBLIC, openapi.RECOVER)
    async def recover(self, _request: Request, link: str) -> HTTPResponse:
        """Where a link to a cart left behind leads."""
        return json_response(await self._recovery.recover(link), headers={"referrer-policy": "no-referrer"})

    @route("GET", "/v1/unsubscribe/{link}", Access.PUBLIC, openapi.SHOW)
    async def show(self, _request: Request, link: str) -> HTTPResponse:
        """A page with a button: programs that look at mails follow links, and unsubscribe nobody."""
        self._recovery.check_unsubscribe(link)
        return html_response(_PAGE, _PRIVATE, form=True)

    @route("POST", "/v1/unsubscribe/{link}", Access.PUBLIC, openapi.UNSUBSCRIBE)
    async def unsubscribe(self, _request: Request, link: str) -> HTTPResponse:
        """One click (RFC 8058). The body says nothing that the link does not."""
        await self._recovery.unsubscribe(link)
        return text("You will get no more mails about carts you have left behind.", headers=_PRIVATE)
