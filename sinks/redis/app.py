"""Runs the restore agent as a process."""

from collections.abc import Callable
from functools import partial
from typing import Final

import stamina
from aiokafka.errors import KafkaConnectionError

from delivery import run_process
from sinks.redis.agent import RestoreAgent
from sinks.settings import RedisSinkSettings
from store import PipelinedClient, StoreUnavailable
from topics.groups import REDIS_SINK

PATIENCE_SECONDS: Final = 15.0
"""Nobody waits for a batch, and a loaded Redis is not a lost one."""

_SECRET: Final = {"redis_url", "kafka_sasl_password"}


def run_agent(settings: RedisSinkSettings) -> None:
    """Run until SIGTERM or SIGINT. Exits with code 75 when only a new start helps."""
    shown = settings.model_dump(mode="json", exclude=_SECRET)
    run_process(REDIS_SINK, settings, partial(_work, settings), shown=shown)


async def _work(settings: RedisSinkSettings, ready: Callable[[], None]) -> None:
    patient = settings.model_copy(update={"redis_timeout_s": max(settings.redis_timeout_s, PATIENCE_SECONDS)})
    client = PipelinedClient(patient, name=REDIS_SINK)
    # Whatever is not up yet is waited for.
    async for attempt in stamina.retry_context(
        on=(StoreUnavailable, KafkaConnectionError), attempts=None, timeout=None, wait_max=2.0
    ):
        with attempt:
            async with client:
                await RestoreAgent(settings, client).run(ready)
