"""Routes: a handler is declared with its methods, its path and its OpenAPI description, in one place."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import msgspec
from sanic import Request, Sanic

from gateway.identity.access import Access
from gateway.identity.guard import Guard

Handler = TypeVar("Handler", bound=Callable[..., Any])

_PARAMETER: Final = re.compile(r"{(\w+)}")


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
