"""Health and metrics in the OpenAPI description."""

from typing import Final

import msgspec

from gateway.http.openapi import HTML, operation, path_parameter, reply, text_reply
from gateway.http.problems import NOT_FOUND, NOT_READY
from runtime.health import Check, Health


class Liveness(msgspec.Struct, frozen=True):
    """The process serves."""

    status: str


class ShownReadiness(msgspec.Struct, frozen=True):
    """`ready` or `degraded` (all gateways share the dependency); `checks` are for services only."""

    status: str
    checks: dict[str, Check] | msgspec.UnsetType = msgspec.UNSET


PARAMETERS: Final = {
    "slug": path_parameter(
        "slug",
        "the last part of a problem's type",
        "cart-merged",
        {"type": "string", "pattern": "^[a-z0-9-]+$"},
    )
}

LIVE: Final = operation(
    "live",
    "200 as long as the event loop turns",
    {"200": reply("It turns", Liveness, example=Liveness("live"))},
)
READY: Final = operation(
    "ready",
    "Whether traffic should come here, and the state of each dependency",
    {
        "200": reply(
            "Ready or degraded",
            ShownReadiness,
            example={
                "to everybody": ShownReadiness("ready"),
                "to services": ShownReadiness("ready", {"redis": Check(Health.OK)}),
            },
        )
    },
    problems=(NOT_READY,),
)
PROBLEMS: Final = operation(
    "listProblems",
    "A page of all types of problems",
    {"200": text_reply("The page", HTML, "<!doctype html>…")},
)
PROBLEM: Final = operation(
    "showProblem",
    "A page about a type of problem: what `type` of a problem leads to",
    {"200": text_reply("The page", HTML, "<!doctype html>…")},
    problems=(NOT_FOUND,),
)
METRICS: Final = operation(
    "metrics",
    "Prometheus metrics",
    {
        "200": text_reply(
            "Prometheus's text format",
            "text/plain",
            'cartstream_gateway_problems_total{type="cart-merged"} 1.0\n',
        )
    },
)
