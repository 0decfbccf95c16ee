"""The routes of operation: health, metrics, the description of the API."""

import time
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from sanic import Request, Sanic
from sanic.response import HTTPResponse

from gateway.health.checks import HealthChecks
from gateway.metrics import Metrics
from gateway.openapi import DOCS_PAGE, document


class OperationRoutes:
    """Handlers of one app; `register` puts them into its router."""

    def __init__(self, health: HealthChecks, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        self._document = msgspec.json.encode(document())

    def register(self, app: Sanic[Any, Any]) -> None:
        """Add all routes of operation to `app`."""
        app.add_route(self.live, "/health/live", name="health.live")
        app.add_route(self.ready, "/health/ready", name="health.ready")
        app.add_route(self.metrics, "/metrics", name="metrics")
        app.add_route(self.openapi, "/openapi.json", name="openapi")
        app.add_route(self.docs, "/docs", name="docs")

    async def live(self, _: Request) -> HTTPResponse:
        """200 as long as the event loop turns."""
        return _json(b'{"status":"live"}')

    async def ready(self, _: Request) -> HTTPResponse:
        """200 while traffic should come here, else 503; the body has the state of each dependency."""
        readiness = await self._health.readiness(time.time_ns() // 1000)
        return _json(msgspec.json.encode(readiness), 200 if readiness.ready else 503)

    async def metrics(self, _: Request) -> HTTPResponse:
        """Prometheus's text format."""
        return HTTPResponse(self._metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    async def openapi(self, _: Request) -> HTTPResponse:
        """The OpenAPI 3.1 document."""
        return HTTPResponse(self._document, content_type="application/json")

    async def docs(self, _: Request) -> HTTPResponse:
        """The same, to look at."""
        return HTTPResponse(DOCS_PAGE, content_type="text/html; charset=utf-8")


def _json(body: bytes, status: int = 200) -> HTTPResponse:
    return HTTPResponse(
        body, status=status, content_type="application/json", headers={"cache-control": "no-store"}
    )
