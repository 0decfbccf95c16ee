"""Health and metrics in the OpenAPI description."""

from typing import Any, Final

from gateway.health.checks import Readiness
from gateway.http.openapi import operation, reply


def _plain(operation_id: str, summary: str, media_type: str) -> dict[str, Any]:
    return operation(operation_id, summary, {"200": {"description": summary, "content": {media_type: {}}}})


LIVE: Final = _plain("live", "200 as long as the event loop turns", "application/json")
READY: Final = operation(
    "ready",
    "Whether traffic should come here, and the state of each dependency",
    {"200": reply("Ready or degraded", Readiness), "503": reply("Not ready", Readiness)},
)
METRICS: Final = _plain("metrics", "Prometheus metrics", "text/plain")
