"""Runs the process `sinks redis`: the restore agent for carts and the follower for products."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import stamina
from aiokafka.errors import KafkaConnectionError

from runtime.process import Lifetime, run_process
from sinks.redis.agent import RestoreAgent
from sinks.redis.products import CatalogueFollower
from sinks.redis.settings import RedisSinkSettings
from store.redis import PipelinedClient, StoreUnavailable
from topics.groups import REDIS_SINK

PATIENCE_SECONDS: Final = 15.0
"""The timeout of requests to Redis: no shopper waits for them, and a busy Redis is not a lost one."""


_REDIS: Final = "redis"
_MISSING: Final = {
    "carts": "its partitions are not all restored and followed yet",
    "products": "its partitions are not all read to their end yet",
}
"""What is missing until these parts of the process do their work."""


def run_agent(settings: RedisSinkSettings) -> None:
    """Run until SIGTERM or SIGINT. Exits with code 75 when only a new start helps."""
    run_process(REDIS_SINK, settings, partial(_work, settings))


async def _work(settings: RedisSinkSettings, lifetime: Lifetime) -> None:
    patient = settings.model_copy(update={"redis_timeout_s": max(settings.redis_timeout_s, PATIENCE_SECONDS)})
    client = PipelinedClient(patient, name=REDIS_SINK)
    lifetime.checks.failed(_REDIS, "it does not answer yet")
    await _patiently(StoreUnavailable, client.connect)
    lifetime.checks.ok(_REDIS)
    parts = {
        "carts": RestoreAgent(settings, client).run,
        "products": CatalogueFollower(settings, client).run,
    }
    is_ready = lifetime.ready_with(_MISSING)
    try:
        async with asyncio.TaskGroup() as group:
            for part, run in parts.items():
                group.create_task(_patiently(KafkaConnectionError, partial(run, partial(is_ready, part))))
    finally:
        await client.close()


async def _patiently(error: type[Exception], work: Callable[[], Awaitable[None]]) -> None:
    """Do the work; retry while its server is not up yet."""
    async for attempt in stamina.retry_context(on=error, attempts=None, timeout=None, wait_max=2.0):
        with attempt:
            await work()
