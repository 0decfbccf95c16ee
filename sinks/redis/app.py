"""Runs the restore agent as a process: logs, metrics, readiness, graceful stop, exit code."""

import asyncio
import signal
from pathlib import Path
from typing import Final

import stamina
import structlog
import uvloop
from aiokafka.errors import KafkaConnectionError
from prometheus_client import start_http_server

from delivery.errors import fail_stop
from sinks.redis.agent import RestoreAgent
from sinks.settings import RedisSinkSettings
from store import PipelinedClient, StoreUnavailable
from topics.groups import REDIS_SINK
from topics.logs import configure_logging

log = structlog.get_logger(__name__)

PATIENCE_SECONDS: Final = 15.0
"""Nobody waits for a batch, and a loaded Redis is not a lost one."""

_SECRET: Final = {"redis_url", "kafka_sasl_password"}


def run_agent(settings: RedisSinkSettings) -> None:
    """Run until SIGTERM or SIGINT. Exits with code 75 when only a new start helps."""
    configure_logging()
    uvloop.run(_run(settings))


async def _run(settings: RedisSinkSettings) -> None:
    _set_ready(settings.ready_file, there=False)
    if settings.metrics_port:
        start_http_server(settings.metrics_port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log.info("agent.starting", app=REDIS_SINK, settings=settings.model_dump(mode="json", exclude=_SECRET))
    working = asyncio.create_task(_work(settings))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    _set_ready(settings.ready_file, there=False)
    if not stop.is_set():
        fail_stop("agent.crashed", reason=repr(working.exception()))
    working.cancel()
    await asyncio.wait({working}, timeout=settings.stop_timeout_s)
    log.info("agent.stopped", app=REDIS_SINK)


async def _work(settings: RedisSinkSettings) -> None:
    patient = settings.model_copy(update={"redis_timeout_s": max(settings.redis_timeout_s, PATIENCE_SECONDS)})
    client = PipelinedClient(patient, name=REDIS_SINK)
    # Whatever is not up yet is waited for.
    async for attempt in stamina.retry_context(
        on=(StoreUnavailable, KafkaConnectionError), attempts=None, timeout=None, wait_max=2.0
    ):
        with attempt:
            async with client:
                await RestoreAgent(settings, client).run(lambda: _set_ready(settings.ready_file, there=True))


def _set_ready(file: Path | None, *, there: bool) -> None:
    if file is None:
        return
    if there:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    else:
        file.unlink(missing_ok=True)
