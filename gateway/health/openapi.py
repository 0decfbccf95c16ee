"""Health and metrics in the OpenAPI description."""

from typing import Any, Final

from gateway.health.checks import Readiness
from gateway.http.openapi import errors, operation, reply

PARAMETERS: Final = {
    "slug": {
        "name": "slug",
        "in": "path",
        "required": True,
        "description": "the last part of a problem's type",
        "schema": {"type": "string", "pattern": "^[a-z0-9-]+$"},
    }
}


def _plain(operation_id: str, summary: str, media_type: str) -> dict[str, Any]:
    return operation(operation_id, summary, {"200": {"description": summary, "content": {media_type: {}}}})


LIVE: Final = _plain("live", "200 as long as the event loop turns", "application/json")
READY: Final = operation(
    "ready",
    "Whether traffic should come here, and the state of each dependency",
    {"200": reply("Ready or degraded", Readiness), **errors(503)},
)
PROBLEMS: Final = _plain("listProblems", "A page of all types of problems", "text/html")
PROBLEM: Final = operation(
    "showProblem",
    "A page about a type of problem: what `type` of a problem leads to",
    {"200": {"description": "The page", "content": {"text/html": {}}}, **errors(404)},
)
METRICS: Final = _plain("metrics", "Prometheus metrics", "text/plain")
