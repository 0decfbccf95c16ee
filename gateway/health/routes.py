"""The routes of operation: health, metrics, the description of the API."""

from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from sanic import Request
from sanic.response import HTTPResponse

from gateway.health import openapi
from gateway.health.checks import HealthChecks
from gateway.health.docs_page import DOCS_PAGE
from gateway.http.responses import json_response
from gateway.http.routing import route
from gateway.identity.access import Access
from gateway.identity.guard import caller_of
from gateway.metrics import Metrics
from runtime.clock import clock_us


class HealthRoutes:
    """Handlers of one app."""

    def __init__(self, health: HealthChecks, metrics: Metrics, document: dict[str, Any]) -> None:
        """`document`: the OpenAPI document."""
        self._health = health
        self._metrics = metrics
        self._document = msgspec.json.encode(document)

    @route("GET", "/health/live", Access.PUBLIC, openapi.LIVE)
    async def live(self, _: Request) -> HTTPResponse:
        """200 as long as the event loop turns."""
        return json_response({"status": "live"}, cache="no-store")

    @route("GET", "/health/ready", Access.PUBLIC, openapi.READY)
    async def ready(self, request: Request) -> HTTPResponse:
        """200 while traffic should come here, else 503; the state of each dependency is for services."""
        readiness = await self._health.readiness(clock_us())
        shown = readiness if caller_of(request).is_trusted else {"status": readiness.status}
        return json_response(shown, 200 if readiness.ready else 503, cache="no-store")

    @route("GET", "/metrics", Access.SERVICE, openapi.METRICS)
    async def metrics(self, _: Request) -> HTTPResponse:
        """Prometheus's text format."""
        return HTTPResponse(self._metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    @route("GET", "/openapi.json", Access.PUBLIC)
    async def api(self, _: Request) -> HTTPResponse:
        """The OpenAPI 3.1 document."""
        return HTTPResponse(self._document, content_type="application/json")

    @route("GET", "/docs", Access.PUBLIC)
    async def docs(self, _: Request) -> HTTPResponse:
        """The same, to look at."""
        return HTTPResponse(DOCS_PAGE, content_type="text/html; charset=utf-8")
