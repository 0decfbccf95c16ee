"""Serve one app on a listening socket, and stop so that no request fails.

Sanic's own runner closes its listener at the first signal and then cuts connections that have just been
accepted; here the order is in one place.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from socket import SO_SNDBUF, SOL_SOCKET, socket
from typing import Any, Final

import structlog
from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.http.constants import HTTP
from sanic.server.async_server import AsyncioServer

from gateway.health.checks import HealthChecks
from gateway.server.accepting import AT_ONCE, Acceptor
from gateway.server.backlog import BACKLOG, UNREAD_BYTES
from gateway.server.bounds import Bounds
from gateway.server.connections import Connection
from gateway.server.descriptors import room_for
from gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.05


class Server:
    """One app on one socket. `drain`, `retire` and `stop` end `run`; the first two take their time."""

    def __init__(self, app: Sanic[Any, Any], settings: GatewaySettings, health: HealthChecks) -> None:
        self._app = app
        self._settings = settings
        self._health = health
        self._server: AsyncioServer | None = None
        self._acceptor: Acceptor | None = None
        self._accepts = True
        self._leaving: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    async def run(self, listener: socket, ready: Callable[[], None]) -> None:
        """Serve until told to stop; `ready` is called once requests are answered."""
        bounds: Bounds = self._app.ctx.bounds
        bounds.connections.most = room_for(bounds.connections.most)
        listener.setsockopt(SOL_SOCKET, SO_SNDBUF, UNREAD_BYTES)  # its connections inherit it
        server = self._server = await self._app.create_server(
            sock=listener,
            access_log=self._settings.access_log,
            return_asyncio_server=True,
            protocol=Connection,
            # The acceptor serves in its place.
            asyncio_server_kwargs={"start_serving": False},
        )
        assert server is not None  # noqa: S101  Sanic's type allows for a mode that is gone
        # What its own runner would have noted; without it every reply has an empty Alt-Svc header.
        self._app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
        await server.startup()  # type: ignore[no-untyped-call]
        try:
            await server.before_start()  # type: ignore[no-untyped-call]
            listener.listen(BACKLOG)  # whoever gave it may have kept fewer
            protocol = partial(
                Connection, loop=asyncio.get_running_loop(), app=self._app, connections=server.connections
            )
            if self._accepts:
                at_once = max(1, AT_ONCE // self._settings.gateway_workers)
                self._acceptor = Acceptor(listener, protocol, at_once)
                self._acceptor.start()
            await server.after_start()  # type: ignore[no-untyped-call]
            log.info(
                "gateway.server.serving", host=self._settings.gateway_host, port=self._settings.gateway_port
            )
            ready()
            await self._over.wait()
            self._close_listener()
            await server.before_stop()  # type: ignore[no-untyped-call]
            await self._finish_requests(server)
        finally:
            await server.after_stop()  # type: ignore[no-untyped-call]

    def drain(self) -> None:
        """Report not ready; keep serving until the load balancer has noticed, then stop."""
        self._health.draining = True
        self._leave()

    def retire(self) -> None:
        """Stop accepting: other workers serve on this socket. Let clients move to them, then stop."""
        self._close_listener()
        self._leave()

    def stop(self) -> None:
        """Finish the requests in flight and stop."""
        self._over.set()

    @property
    def is_leaving(self) -> bool:
        """Whether it has been told to stop."""
        return self._leaving is not None

    def _leave(self) -> None:
        if self._leaving is None:
            log.info("gateway.draining", seconds=self._settings.drain_s)
            # Sanic reads this with every request: each reply now says `Connection: close`.
            self._app.config.KEEP_ALIVE = False
            self._leaving = asyncio.get_running_loop().create_task(self._stop_later())

    async def _stop_later(self) -> None:
        await asyncio.sleep(self._settings.drain_s)
        self._over.set()

    def _close_listener(self) -> None:
        self._accepts = False  # it may still start
        if self._acceptor is not None:
            self._acceptor.close()
        if self._server is not None and self._server.server is not None:
            self._server.server.close()

    async def _finish_requests(self, server: AsyncioServer) -> None:
        end = asyncio.get_running_loop().time() + self._settings.stop_s
        while self._has_connections(server) and asyncio.get_running_loop().time() < end:
            earlier = list(server.connections)
            await asyncio.sleep(_POLL_S)
            for connection in earlier:  # what those that came since have sent is not read yet
                connection.close_if_idle()
        for connection in list(server.connections):
            connection.abort()

    def _has_connections(self, server: AsyncioServer) -> bool:
        return bool(server.connections) or (self._acceptor is not None and self._acceptor.is_opening)
