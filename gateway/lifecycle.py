"""Everything that happens when a gateway process starts and stops, in order."""

import asyncio
from typing import Any, Final

import structlog
from sanic import Sanic

from gateway.bootstrap import Container
from runtime import tracing
from runtime.failstop import end_misconfigured
from runtime.garbage import collect_seldom
from store.redis import ClusterUnexpected, StoreError

log = structlog.get_logger(__name__)

_KAFKA_WAIT_S: Final = 3.0
"""The first requests should not get `durability=redis` only because the producer is still connecting, nor be
served at all with wrong topics."""

_POSTGRES_WAIT_S: Final = 3.0
"""Nor should they get 503 because the connections to Postgres are still being made."""


def register(app: Sanic[Any, Any], container: Container) -> None:
    """Hook start and stop into `app`."""

    async def connect(_: Sanic[Any, Any]) -> None:
        try:
            await container.client.connect()
        except ClusterUnexpected as error:
            end_misconfigured("cartstream gateway", error)
        except StoreError as error:
            # Not fatal: readiness reports it, and carts that Postgres has can be read.
            container.client.keep_connecting()
            log.warning("gateway.redis_not_connected", error=repr(error))
        await container.storage.start()
        await container.hydration.open()
        await container.database.open()
        await container.pricing.open()
        await container.identity.open()
        container.topics.start()
        container.publisher.start()
        await container.publisher.until_connected(_KAFKA_WAIT_S)
        await container.topics.until_looked(_KAFKA_WAIT_S)
        await asyncio.gather(
            container.database.until_connected(_POSTGRES_WAIT_S),
            container.hydration.until_connected(_POSTGRES_WAIT_S),
        )
        container.sweeper.start()
        container.live.start()

    async def settle(_: Sanic[Any, Any]) -> None:
        collect_seldom()
        container.pressure.start()

    async def end_streams(_: Sanic[Any, Any]) -> None:
        # Connections come elsewhere by now, and requests in flight are waited for: these would not end.
        container.live.end_streams()

    async def disconnect(_: Sanic[Any, Any]) -> None:
        # After the last request: what it published is still acknowledged and removed from the outboxes.
        container.pressure.stop()
        await container.live.close()
        await container.storage.stop()
        await container.topics.stop()
        await container.sweeper.stop()
        await container.publisher.stop()
        await container.trimmer.flush()
        await container.pricing.close()
        await container.identity.close()
        await container.hydration.close()
        await container.database.close()
        await container.client.close()
        tracing.stop()
        log.info("gateway.stopped")

    app.register_listener(connect, "before_server_start")
    app.register_listener(settle, "after_server_start")
    app.register_listener(end_streams, "before_server_stop")
    app.register_listener(disconnect, "after_server_stop")
