"""The span of a request: a handler is put into one where there are traces, and left alone elsewhere."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from sanic import Request
from sanic.response import HTTPResponse

from gateway.http.problems import INTERNAL_ERROR, Problem
from gateway.identity.access import Access
from runtime import tracing

_TRACED: Final = "/v1/"
"""Probes, metrics and pages would be most of what there is to see."""


def traced(path: str, access: Access, handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler of `path`, in a span if this process makes any. What has no end has no span."""
    active = tracing.active
    if active is None or access is Access.CART_STREAM or not path.startswith(_TRACED):
        return handler

    @wraps(handler)
    async def in_a_span(request: Request, **parameters: str) -> HTTPResponse | None:
        with active.request(request.method, path, request.headers.get(tracing.TRACEPARENT)) as span:
            try:
                response: HTTPResponse | None = await handler(request, **parameters)
            except Problem as problem:
                span.answered(problem.kind.status, problem.kind.slug)
                raise
            except Exception:
                span.answered(INTERNAL_ERROR.status, INTERNAL_ERROR.slug)
                raise
            if response is not None:
                span.answered(response.status)
            return response

    return in_a_span
