"""The routes of operation: health, metrics, what the types of problems mean."""

from prometheus_client import CONTENT_TYPE_LATEST
from sanic import Request
from sanic.response import HTTPResponse

from gateway.health import openapi
from gateway.health.checks import HealthChecks
from gateway.health.problem_pages import list_page, problem_page
from gateway.http.problems import NOT_FOUND, NOT_READY, Problem, problem_types, retry_after
from gateway.http.responses import html_response, json_response
from gateway.http.routing import route
from gateway.identity.access import Access
from gateway.identity.guard import caller_of
from gateway.metrics import Metrics
from gateway.server.admission import Priority
from runtime.clock import clock_us


class HealthRoutes:
    """Handlers of one app."""

    def __init__(self, health: HealthChecks, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics

    @route("GET", "/health/live", Access.PUBLIC, openapi.LIVE, priority=Priority.ALWAYS)
    async def live(self, _: Request) -> HTTPResponse:
        """200 as long as the event loop turns."""
        return json_response({"status": "live"}, cache="no-store")

    @route("GET", "/health/ready", Access.PUBLIC, openapi.READY, priority=Priority.ALWAYS)
    async def ready(self, request: Request) -> HTTPResponse:
        """200 while traffic should come here, else 503; the state of each dependency is for services."""
        readiness = await self._health.readiness(clock_us())
        trusted = caller_of(request).is_trusted
        if readiness.ready:
            shown = readiness if trusted else {"status": readiness.status}
            return json_response(shown, cache="no-store")
        raise Problem(
            NOT_READY,
            "Send requests to another gateway; this one tells services why, in `checks`.",
            headers=retry_after(1),
            # `status` is the number of the reply in a problem (RFC 9457).
            extra={"readiness": readiness.status} | ({"checks": readiness.checks} if trusted else {}),
        )

    @route("GET", "/metrics", Access.SERVICE, openapi.METRICS, priority=Priority.ALWAYS)
    async def metrics(self, _: Request) -> HTTPResponse:
        """Prometheus's text format."""
        return HTTPResponse(self._metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    @route("GET", "/problems", Access.PUBLIC, openapi.PROBLEMS)
    async def problems(self, _: Request) -> HTTPResponse:
        """All types of problems."""
        return html_response(list_page(problem_types()))

    @route("GET", "/problems/{slug}", Access.PUBLIC, openapi.PROBLEM)
    async def problem(self, _: Request, slug: str) -> HTTPResponse:
        """What the `type` of a problem leads to."""
        for kind in problem_types():
            if kind.slug == slug:
                return html_response(problem_page(kind))
        raise Problem(NOT_FOUND, "There is no such type of problem; /problems lists all of them.")
