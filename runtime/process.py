"""Runs plain asyncio work as a process: logs, metrics, readiness, graceful stop, exit code."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog
import uvloop
from prometheus_client import start_http_server

from runtime.failstop import fail_stop
from runtime.garbage import collect_seldom
from runtime.logs import configure_logging
from runtime.settings import ProcessSettings

log = structlog.get_logger(__name__)

Work = Callable[[Callable[[], None]], Awaitable[None]]
"""Works until cancelled; calls what it is given once it does its work, which makes the process ready."""


def run_process(name: str, settings: ProcessSettings, work: Work, *, shown: Mapping[str, Any]) -> None:
    """Run `work` until SIGTERM or SIGINT, then cancel it and return.

    `shown` are the settings as they may stand in the log. Exits with 75 when the work ends by itself: only a
    new start helps then.
    """
    configure_logging()
    uvloop.run(_run(name, settings, work, shown))


async def _run(name: str, settings: ProcessSettings, work: Work, shown: Mapping[str, Any]) -> None:
    _set_ready(settings.ready_file, there=False)
    if settings.metrics_port:
        start_http_server(settings.metrics_port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log.info("process.starting", app=name, settings=shown)
    collect_seldom()
    working = asyncio.ensure_future(work(lambda: _set_ready(settings.ready_file, there=True)))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    _set_ready(settings.ready_file, there=False)
    if not stop.is_set():
        fail_stop("process.crashed", app=name, reason=repr(working.exception()))
    working.cancel()
    await asyncio.wait({working}, timeout=settings.stop_timeout_s)
    log.info("process.stopped", app=name)


def _set_ready(file: Path | None, *, there: bool) -> None:
    if file is None:
        return
    if there:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    else:
        file.unlink(missing_ok=True)
