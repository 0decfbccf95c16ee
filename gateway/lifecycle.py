"""Everything that happens when a gateway process starts and stops, in order."""

import asyncio
import gc
import signal
from typing import Any

import structlog
from sanic import Sanic

from gateway.parts import Parts
from store import StoreError

log = structlog.get_logger(__name__)


def register(app: Sanic[Any, Any], parts: Parts) -> None:
    """Hook start and stop into `app`."""

    async def connect(_: Sanic[Any, Any]) -> None:
        try:
            await parts.client.connect()
        except StoreError as error:
            # The client reconnects by itself; readiness tells that it has not yet.
            log.warning("gateway.redis_not_connected", error=repr(error))
        await parts.hydration.open()
        parts.publisher.start()
        parts.sweeper.start()

    async def serve(_: Sanic[Any, Any]) -> None:
        loop = asyncio.get_running_loop()
        # Sanic's own handler closes the listener at once: requests on their way would be refused.
        drain = _Drain(app, parts)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, drain.begin)
        if parts.settings.ready_file is not None:
            parts.settings.ready_file.parent.mkdir(parents=True, exist_ok=True)
            parts.settings.ready_file.touch()
        # What lives now lives for good, and what a request makes goes with its last reference: look seldom.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        log.info("gateway.serving", host=parts.settings.gateway_host, port=parts.settings.gateway_port)

    async def disconnect(_: Sanic[Any, Any]) -> None:
        # After the last request: what they published is still acknowledged and taken out of the outboxes.
        await parts.sweeper.stop()
        await parts.publisher.stop()
        await parts.removals.flush()
        await parts.hydration.close()
        await parts.client.close()
        log.info("gateway.stopped")

    app.register_listener(connect, "before_server_start")
    app.register_listener(serve, "after_server_start")
    app.register_listener(disconnect, "after_server_stop")


class _Drain:
    """Serve on, not ready and without keep-alive, until the load balancer has noticed; then stop.

    A second signal stops at once.
    """

    def __init__(self, app: Sanic[Any, Any], parts: Parts) -> None:
        self._app = app
        self._parts = parts
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        if self._task is not None:
            self._app.stop(terminate=False)
            return
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        settings = self._parts.settings
        log.info("gateway.draining", seconds=settings.drain_s)
        self._parts.health.draining = True
        if settings.ready_file is not None:
            settings.ready_file.unlink(missing_ok=True)
        # Sanic reads this with every request: each reply now says `Connection: close`.
        self._app.config.KEEP_ALIVE = False
        await asyncio.sleep(settings.drain_s)
        self._app.stop(terminate=False)
