"""Routes: a handler is declared with its methods, its path and its OpenAPI description, in one place."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from sanic import Request, Sanic
from sanic.router import Router

from gateway.identity.access import Access
from gateway.identity.guard import Guard

Handler = TypeVar("Handler", bound=Callable[..., Any])

_PARAMETER: Final = re.compile(r"{(\w+)}")
_PATHS: Final = 16_384
_LONGEST_PATH: Final = 256
"""Longer ones are not remembered: callers choose them, and memory is bounded."""


class RememberingRouter(Router):
    """Finds the route of a path seen lately without looking: each cart has paths of its own.

    Sanic's remembers 1,024 of them. No route depends on the host, so nothing is remembered by it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._remembered: Final = lru_cache(maxsize=_PATHS)(self._get)

    def get(self, path: str, method: str, host: str | None) -> Any:  # type: ignore[override]  # noqa: ARG002
        """The route, its handler and the parameters in the path."""
        look = self._remembered if len(path) <= _LONGEST_PATH else self._get
        return look(path, method, None)


class Route(msgspec.Struct, frozen=True):
    """What an app serves at one path and for whom, and the OpenAPI operation that describes it, if any does.

    `path` has its parameters in braces, as OpenAPI does. The first of `methods` is the one described; HEAD
    may stand behind GET. A stream's handler reads the body itself, while it arrives.
    """

    methods: tuple[str, ...]
    path: str
    access: Access
    operation: dict[str, Any] | None
    is_stream: bool

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters in the path, in their order."""
        return _PARAMETER.findall(self.path)


def route(
    methods: str,
    path: str,
    access: Access,
    operation: dict[str, Any] | None = None,
    *,
    stream: bool = False,
) -> Callable[[Handler], Handler]:
    """Mark a method of a class as the handler of `methods` (`GET, HEAD`) at `path`, for callers of `access`.

    Without an `operation` the route is left out of the OpenAPI document.
    """
    marked = Route(tuple(methods.split(", ")), path, access, operation, stream)

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
        handler = guard.protect(found.access, getattr(feature, name))
        app.add_route(
            _stream(handler) if found.is_stream else handler,
            _PARAMETER.sub(r"<\1:str>", found.path),
            methods=found.methods,
            name=f"{type(feature).__name__}.{name}",
            stream=found.is_stream,
        )


def _stream(handler: Callable[..., Any]) -> Callable[..., Any]:
    # A function, for Sanic marks the handler of a stream and cannot mark a method.
    async def read_while_it_arrives(request: Request, **parameters: str) -> Any:
        return await handler(request, **parameters)

    return read_while_it_arrives
