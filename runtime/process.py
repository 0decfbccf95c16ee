"""What every process does from its start to its end: logs, metrics, signals, ready file, exit code."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog
import uvloop
from prometheus_client import start_http_server

from runtime.failstop import fail_stop, fail_stop_after
from runtime.garbage import collect_seldom
from runtime.logs import configure_logging
from runtime.ready import ReadyFile
from runtime.settings import ProcessSettings, shown

log = structlog.get_logger(__name__)

Work = Callable[[Callable[[], None]], Awaitable[None]]
"""Works until cancelled; calls what it is given once it does its work, which makes the process ready."""


def run_process(name: str, settings: ProcessSettings, work: Work) -> None:
    """Run `work` until SIGTERM or SIGINT, then cancel it and return.

    Exits with 75 when the work ends by itself (only a restart helps then), or when the process has not ended
    `stop_timeout_s` after the signal.
    """
    configure_logging()
    uvloop.run(_run(name, settings, work))


def begin(name: str, settings: ProcessSettings) -> tuple[ReadyFile, asyncio.Event]:
    """Start what every process has: metrics, signals, log; call it first, in the running loop.

    Returns its ready file, cleared, and an event that SIGTERM and SIGINT set. From then on the process has
    `stop_timeout_s` to end; after that it is ended, with code 75.
    """
    ready = ReadyFile(settings.ready_file)
    ready.clear()
    if settings.metrics_port:
        start_http_server(settings.metrics_port)
    stop = asyncio.Event()

    def ask_to_stop() -> None:
        if not stop.is_set():
            stop.set()
            fail_stop_after(settings.stop_timeout_s, "process.stop_timed_out")

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask_to_stop)
    log.info("process.starting", app=name, settings=shown(settings))
    collect_seldom()
    return ready, stop


async def _run(name: str, settings: ProcessSettings, work: Work) -> None:
    ready, stop = begin(name, settings)
    working = asyncio.ensure_future(work(ready.set))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    ready.clear()
    if not stop.is_set():
        fail_stop("process.crashed", app=name, reason=repr(working.exception()))
    working.cancel()
    await asyncio.wait({working})
    log.info("process.stopped", app=name)
