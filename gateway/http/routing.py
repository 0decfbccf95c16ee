"""Routes: a handler is declared with its methods, its path and its OpenAPI description, in one place."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from sanic import Request, Sanic
from sanic.constants import HTTP_METHODS
from sanic.exceptions import MethodNotAllowed, NotFound
from sanic.response import HTTPResponse

from gateway.http.names import Names
from gateway.http.openapi import Operation
from gateway.http.problems import MISDIRECTED, Problem
from gateway.http.tracing import traced
from gateway.identity.access import Access
from gateway.identity.guard import Guard
from gateway.server.admission import Priority
from gateway.server.sanic_internals import HookedRouter

Handler = TypeVar("Handler", bound=Callable[..., Any])

_PARAMETER: Final = re.compile(r"{(\w+)}")
_PATHS: Final = 16_384
_LONGEST_PATH: Final = 256
"""Longer ones are not remembered: callers choose them, and memory is bounded."""


class RememberingRouter(HookedRouter):
    """Finds the route of a path seen lately without looking: each cart has paths of its own.

    Sanic's remembers 1,024 of them. No route depends on the host, so nothing is remembered by it. OPTIONS is
    answered at every path.
    """

    def __init__(self, names: Names) -> None:
        """`names` are those by which the gateway may be asked."""
        super().__init__()
        self._names: Final = names
        self._remembered: Final = lru_cache(maxsize=_PATHS)(self._find)

    def get(self, path: str, method: str, host: str | None) -> Any:  # type: ignore[override]
        """The route, its handler and the parameters in the path. Raises Problem for a foreign `host`."""
        if host is not None and not self._names.include(host):
            raise Problem(
                MISDIRECTED,
                f"This gateway is not {host[:80]}; ask it by its address, as localhost, or by a name in "
                "CARTSTREAM_GATEWAY_NAMES.",
            )
        look = self._remembered if len(path) <= _LONGEST_PATH else self._find
        return look(path, method)

    def methods_at(self, path: str) -> list[str]:
        """The methods that the path knows, OPTIONS apart."""
        found = []
        for method in HTTP_METHODS:
            with suppress(MethodNotAllowed, NotFound):
                self._find_exactly(path, method.value)
                found.append(method.value)
        return found

    def priority_of(self, path: str, method: str) -> Priority:
        """What a request is to the shop. One that no route answers is a read."""
        look = self._remembered if len(path) <= _LONGEST_PATH else self._find
        try:
            route, _, _ = look(path, method)
        except (MethodNotAllowed, NotFound):
            return Priority.READ
        priority: Priority = route.ctx.priority
        return priority

    def _find(self, path: str, method: str) -> Any:
        if method != "OPTIONS":
            return self._find_exactly(path, method)
        methods = self.methods_at(path)
        if not methods:
            raise NotFound(f"{path} is the path of no route")
        route, _, _ = self._find_exactly(path, methods[0])
        return route, _tells(methods), {}

    def _find_exactly(self, path: str, method: str) -> Any:
        try:
            return self.find(path, method)
        except MethodNotAllowed:
            # A fixed path hides the one with a parameter: `import` may be a product's id, too. In another
            # spelling of its last segment it is the parameter's.
            head, _, last = path.rpartition("/")
            if last:
                with suppress(MethodNotAllowed, NotFound):
                    return self.find(f"{head}/%{ord(last[0]):02x}{last[1:]}", method)
            raise


class Route(msgspec.Struct, frozen=True):
    """What an app serves at one path and for whom, and the OpenAPI operation that describes it, if any does.

    `path` has its parameters in braces, as OpenAPI does. The first of `methods` is the one described; HEAD
    stands behind GET. A stream's handler reads the body itself, while it arrives. Under too much load
    requests of the lowest `priority` are turned away first.
    """

    methods: tuple[str, ...]
    path: str
    access: Access
    operation: Operation | None
    is_stream: bool
    priority: Priority

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters in the path, in their order."""
        return _PARAMETER.findall(self.path)


def route(
    method: str,
    path: str,
    access: Access,
    operation: Operation | None = None,
    *,
    stream: bool = False,
    priority: Priority | None = None,
) -> Callable[[Handler], Handler]:
    """Mark a method of a class as the handler of `method` at `path`, for callers of `access`.

    What answers GET answers HEAD, too; the server leaves the body out. Without an `operation` the route is
    left out of the OpenAPI document. Without a `priority` it is a read if it is a GET, else a write.
    """
    reads = method == "GET"
    marked = Route(
        ("GET", "HEAD") if reads else (method,),
        path,
        access,
        operation,
        stream,
        priority or (Priority.READ if reads else Priority.WRITE),
    )

    def mark(handler: Handler) -> Handler:
        handler.route = marked  # type: ignore[attr-defined]
        return handler

    return mark


def routes_of(feature: type) -> Iterator[tuple[str, Route]]:
    """The names of the marked methods of a class, and their routes, in the order of the source."""
    for name, member in vars(feature).items():
        found = getattr(member, "route", None)
        if isinstance(found, Route):
            yield name, found


def add_routes(app: Sanic[Any, Any], feature: object, guard: Guard) -> None:
    """Serve all routes of a feature's object from `app`, behind the guard."""
    for name, found in routes_of(type(feature)):
        handler = traced(found.path, found.access, guard.protect(found.access, getattr(feature, name)))
        app.add_route(
            _stream(handler) if found.is_stream else handler,
            _PARAMETER.sub(r"<\1:str>", found.path),
            methods=found.methods,
            name=f"{type(feature).__name__}.{name}",
            stream=found.is_stream,
            ctx_priority=found.priority,
            ctx_label=f"{found.methods[0]} {found.path}",
        )


def _tells(methods: list[str]) -> Callable[..., Any]:
    allowed = ", ".join([*methods, "OPTIONS"])

    async def options(_: Request) -> HTTPResponse:
        return HTTPResponse(b"", status=204, headers={"allow": allowed, "cache-control": "no-store"})

    return options


def _stream(handler: Callable[..., Any]) -> Callable[..., Any]:
    # A function, for Sanic marks the handler of a stream and cannot mark a method.
    async def read_while_it_arrives(request: Request, **parameters: str) -> Any:
        return await handler(request, **parameters)

    return read_while_it_arrives
