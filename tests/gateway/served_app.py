"""The server itself with an app that does nothing, in the process of the test."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from sanic import Request, Sanic
from sanic.response import HTTPResponse, empty, raw

from gateway.http.names import Sharing
from gateway.http.problems import AnsweredRequest, ProblemHandler
from gateway.metrics import Metrics
from gateway.rates.limiter import RateLimiter, Shared
from gateway.rates.policy import Policy
from gateway.rates.service import Rates
from gateway.server.addresses import Addresses
from gateway.server.admission import Admission, Priority
from gateway.server.bounds import Bounds
from gateway.server.serving import Server
from gateway.settings import GatewaySettings
from store.redis import StoreUnavailable

LARGE = 1 << 20


class Unshared:
    """Redis is away."""

    async def add(self, *_: object) -> float:
        """Nothing is shared."""
        raise StoreUnavailable("away")


class StandingLimiter(RateLimiter):
    """No time passes for it, however long a test takes: nothing is given back."""

    def __init__(self, policy: Policy, shared: Shared) -> None:
        super().__init__(policy, shared, lambda: 1000.0)


def bounds_of(settings: GatewaySettings, metrics: Metrics, origins: tuple[str, ...] = ()) -> Bounds:
    """The bounds of a worker with these settings; all requests are reads."""
    return Bounds(
        settings,
        settings.body_bytes,
        metrics,
        Admission(settings.shed_delay_s, settings.shed_in_flight),
        Rates(settings, Addresses.behind(settings.proxy_networks), Unshared(), metrics),
        Sharing(origins),
        lambda _, __: Priority.READ,
    )


class Served:
    """An app that notes the paths of its requests, on a socket."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: GatewaySettings, **config: float) -> None:
        # A second app of a process would not start without it.
        monkeypatch.setattr(Sanic, "test_mode", True)
        monkeypatch.setattr("gateway.rates.service.RateLimiter", StandingLimiter)
        metrics = Metrics()
        self.paths: list[str] = []
        self.answers = asyncio.Event()
        """While it is not set, requests that were taken are not answered."""
        self.answers.set()
        app: Sanic[Any, Any] = Sanic(
            f"served-{uuid4().hex}",
            error_handler=ProblemHandler(),
            request_class=AnsweredRequest,
            configure_logging=False,
        )
        app.config.update(config)
        self.metrics = metrics
        self.bounds = bounds_of(settings, metrics, tuple(settings.origins))
        app.ctx.metrics, app.ctx.bounds = metrics, self.bounds
        app.add_route(self._note, "/<path:str>", methods=["GET", "HEAD", "POST"])
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port: int = self.listener.getsockname()[1]
        self.server = Server(app, settings, cast(Any, SimpleNamespace(draining=False)))

    async def _note(self, request: Request, path: str) -> HTTPResponse | None:
        assert request.path == f"/{path}"
        self.paths.append(path)
        await self.answers.wait()
        if path == "stream":
            response = await request.respond()
            await response.send(b"some")
            await response.eof()
            return None
        return raw(b" " * LARGE) if path == "large" else empty()


@asynccontextmanager
async def serving(
    monkeypatch: pytest.MonkeyPatch, settings: GatewaySettings | None = None, **config: float
) -> AsyncIterator[Served]:
    """The app, served."""
    served, ready = Served(monkeypatch, settings or GatewaySettings(), **config), asyncio.Event()
    running = asyncio.create_task(served.server.run(served.listener, ready.set))
    await ready.wait()
    try:
        yield served
    finally:
        served.server.stop()
        await running
