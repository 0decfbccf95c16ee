"""What every process does from its start to its end: log, probes, metrics, signals, ready file, exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import structlog

from runtime import event_loop, tracing
from runtime.ending import Ending, tell, told
from runtime.failstop import EXIT_RESTART, Misconfigured, end_misconfigured, fail_stop, fail_stop_after
from runtime.garbage import collect_seldom
from runtime.health import Checks
from runtime.logs import configure_logging
from runtime.probes import serve_probes
from runtime.ready import ReadyFile, when_all
from runtime.settings import ProcessSettings, shown
from runtime.supervision.link import Command, SupervisorLink, is_supervised
from runtime.targets import MetricsTarget

log = structlog.get_logger(__name__)

_PROCESS: Final = "process"
"""The check that is the process itself."""


def run_process(name: str, settings: ProcessSettings, work: Callable[[Lifetime], Awaitable[None]]) -> None:
    """Run `work` until SIGTERM or SIGINT, then cancel it and return.

    `work` tells the lifetime that it is given once it does its work, which makes the process ready.

    Exits with 1 when the work finds a setting wrong (Misconfigured), and with 75 when it ends otherwise by
    itself (only a restart helps then), when the process has not ended `stop_timeout_s` after the signal, and
    after SIGHUP, which asks for a new process.
    """
    configure_logging(name, settings)
    tracing.start(name)
    event_loop.run(_run(name, settings, work))
    tracing.stop()
    exit_as_told()


class Lifetime:
    """What a process has from its start: probes, its ready file, or its supervisor, and the order to stop."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._file = ReadyFile(settings.ready_file)
        self._file.clear()
        self._stop_timeout_s = settings.stop_timeout_s
        self._obeying: asyncio.Task[None] | None = None
        self._link: SupervisorLink | None = None
        self._turn = asyncio.Event()
        self._address: str | None = None
        self._target: MetricsTarget | None = None
        self.checks = Checks(**{_PROCESS: "it is starting"})
        """What its probe of readiness says."""
        self.stop = asyncio.Event()
        """Set by SIGTERM, SIGINT and SIGHUP, or by the supervisor."""

    def listen(self) -> None:
        """Obey signals and, if there is one, the supervisor."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, Ending.FOR_GOOD)
        loop.add_signal_handler(signal.SIGHUP, self._end, Ending.RENEWED)
        if is_supervised():
            self._obeying = loop.create_task(self._obey())
        else:
            self._turn.set()

    async def turn(self) -> None:
        """Wait until this process may work: with a supervisor, until the one before it has ended."""
        turn, stop = asyncio.create_task(self._turn.wait()), asyncio.create_task(self.stop.wait())
        await asyncio.wait({turn, stop}, return_when=asyncio.FIRST_COMPLETED)
        turn.cancel()
        stop.cancel()

    def serve_probes(self, settings: ProcessSettings) -> str | None:
        """Answer probes from now on; the address, if there is one. Raises Misconfigured."""
        self._address = serve_probes(self.checks, settings.probes_host, settings.metrics_port)
        return self._address

    def announce(self, target: MetricsTarget) -> None:
        """Tell Prometheus where the probes are, until the process is told to stop."""
        self._target = target
        target.set(self._address)

    def ready_with(self, parts: Mapping[str, str]) -> Callable[[str], None]:
        """A function to call with the name of each part that does its work; with the last one all is ready.

        `parts` says by name what is missing until then.
        """
        for name, missing in parts.items():
            self.checks.failed(name, missing)
        is_ready = when_all(parts, self.ready)

        def says(name: str) -> None:
            self.checks.ok(name)
            is_ready(name)

        return says

    def ready(self) -> None:
        """Tell whoever waits for it that the process does its work."""
        self.checks.ok(_PROCESS)
        self._file.set(self._address)
        if self._link is not None:
            self._link.ready()

    def not_ready(self) -> None:
        """The process stops."""
        self.checks.failed(_PROCESS, "it is stopping")
        self._file.clear()

    def _end(self, ending: Ending) -> None:
        if not self.stop.is_set():
            tell(ending)
            if self._target is not None:
                self._target.clear()
            self.stop.set()
            fail_stop_after(self._stop_timeout_s, "process.stop_timed_out")

    async def _obey(self) -> None:
        self._link = link = await SupervisorLink.open()
        link.prepared()
        await link.obey(
            {
                Command.WORK: self._turn.set,
                Command.LEAVE: partial(self._end, Ending.FOR_GOOD),
                Command.RETIRE: partial(self._end, Ending.RENEWED),
                Command.STOP: partial(self._end, Ending.FOR_GOOD),
            }
        )


async def begin(name: str, settings: ProcessSettings) -> Lifetime:
    """Start what every process has, signals, probes, log, and return when it is this process's turn to work.

    From the order to stop on the process has `stop_timeout_s` to end; after that it is ended, with code 75.
    SIGTERM and SIGINT end it for good: it leaves its consumer groups. SIGHUP, too, ends it, for a new process
    that takes its place: it leaves none, and `exit_as_told` ends with 75.
    """
    os.umask(0o077)  # what a process writes, such as a local store of carts, is nobody else's to read
    lifetime = Lifetime(settings)
    lifetime.listen()
    await lifetime.turn()
    try:
        address = lifetime.serve_probes(settings)
    except Misconfigured as error:
        end_misconfigured(name, error)
    lifetime.announce(MetricsTarget(settings.metrics_targets, name, settings.worker))
    log.info("process.starting", app=name, probes=address, settings=shown(settings))
    collect_seldom()
    return lifetime


def exit_as_told() -> None:
    """Return if the process has ended for good; exit with 75 if it wants to be started again."""
    if told() is Ending.RENEWED:
        sys.exit(EXIT_RESTART)


async def _run(name: str, settings: ProcessSettings, work: Callable[[Lifetime], Awaitable[None]]) -> None:
    lifetime = await begin(name, settings)
    working = asyncio.ensure_future(work(lifetime))
    stopping = asyncio.create_task(lifetime.stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    lifetime.not_ready()
    if not lifetime.stop.is_set():
        if isinstance(error := working.exception(), Misconfigured):
            end_misconfigured(name, error)
        fail_stop("process.crashed", app=name, reason=repr(error))
    working.cancel()
    await asyncio.wait({working})
    log.info("process.stopped", app=name)
