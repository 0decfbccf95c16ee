"""Supervises several gateway workers on one socket: starts them, replaces dead ones, reloads them on SIGHUP.

Workers inherit the listening socket, so connections wait in its queue and not in a process: one that ends
takes none with it. The reload is a rolling one: a new worker serves before an old one is told to retire, and
when the new one fails to start, the old ones stay. The supervisor itself serves nothing.
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections import deque
from contextlib import suppress
from enum import Enum
from typing import Final

import structlog
from prometheus_client.multiprocess import mark_process_dead

from gateway.settings import GatewaySettings
from runtime.ready import ReadyFile

log = structlog.get_logger(__name__)

READY: Final = b"+"
"""What a worker sends to its supervisor once it serves."""

_START_S: Final = 60.0
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 30.0
_STOP_MARGIN_S: Final = 15.0
"""For what a worker does after its last request: flush the publisher, close its connections."""


class Command(bytes, Enum):
    """What a supervisor tells a worker; see gateway.server.serving.Server."""

    DRAIN = b"d"
    RETIRE = b"r"
    STOP = b"s"


class WorkerProcess:
    """A worker as its supervisor sees it."""

    def __init__(
        self, process: Process, answers: asyncio.StreamReader, commands: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._answers = answers
        self._commands = commands
        self.pid = process.pid
        self.ended = asyncio.create_task(process.wait())

    @classmethod
    async def start(cls, listener: socket.socket, environment: dict[str, str]) -> "WorkerProcess":
        """A worker that has been started and does not serve yet."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.server.worker", str(listener.fileno())),
                stdin=theirs.fileno(),
                pass_fds=[listener.fileno()],
                env=environment,
            )
        return cls(process, *await asyncio.open_connection(sock=ours))

    async def becomes_ready(self) -> bool:
        """Returns once it serves (True) or cannot (False)."""
        with suppress(ConnectionError):
            return await self._answers.read(1) == READY
        return False

    def send(self, command: Command) -> None:
        """Send it a command; one that is dead by now needs none."""
        self._commands.write(command.value)

    async def kill(self) -> None:
        """Kill -9, and wait for the end."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self.ended


class Supervisor:
    """Keeps `gateway_workers` workers until SIGTERM or SIGINT; a second signal cuts the draining short."""

    def __init__(self, settings: GatewaySettings, listener: socket.socket, metrics_folder: str) -> None:
        self._settings = settings
        self._ready_file = ReadyFile(settings.ready_file)
        self._listener = listener
        self._metrics_folder = metrics_folder
        self._environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": metrics_folder}
        # The file means that the gateway serves, and a worker is not the gateway.
        self._environment.pop("CARTSTREAM_READY_FILE", None)
        self._serving: list[WorkerProcess] = []
        self._stale: deque[WorkerProcess] = deque()
        self._leaving: set[WorkerProcess] = set()
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._pause_s = 0.0

    async def run(self) -> None:
        """Start all workers and look after them; returns when all have ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        is_complete = False
        while not self._stopping.is_set():
            self._reap()
            if len(self._serving) < self._settings.gateway_workers:
                await self._start_worker()
            elif self._stale and not self._leaving:
                await self._replace(self._stale.popleft())
            else:
                if not is_complete:
                    is_complete = True
                    self._say_ready()
                await self._wait_for_event()
        await self._end()

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._send_to_all(Command.STOP)
        log.info("gateway.stopping", workers=len(self._serving))
        self._stopping.set()
        self._woken.set()

    def _reload(self) -> None:
        log.info("gateway.reloading", workers=len(self._serving))
        self._stale = deque(self._serving)
        self._woken.set()

    async def _wait_for_event(self) -> None:
        """Returns at a signal, or when a worker has ended."""
        self._woken.clear()
        waking = asyncio.create_task(self._woken.wait())
        ends = [worker.ended for worker in (*self._serving, *self._leaving)]
        await asyncio.wait([waking, *ends], return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()

    def _reap(self) -> None:
        for worker in [worker for worker in (*self._serving, *self._leaving) if worker.ended.done()]:
            if worker in self._leaving:
                self._leaving.remove(worker)
            else:
                self._serving.remove(worker)
                log.error("gateway.worker_died", pid=worker.pid, code=worker.ended.result())
            mark_process_dead(worker.pid, self._metrics_folder)  # type: ignore[no-untyped-call]

    async def _start_worker(self) -> bool:
        """Starts one more worker; returns whether it serves. Failures in a row delay the next try."""
        if self._pause_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._pause_s)
        if self._stopping.is_set():
            return False
        worker = await WorkerProcess.start(self._listener, self._environment)
        serves = asyncio.create_task(worker.becomes_ready())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([serves, stopping], timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if serves.done() and serves.result():
            log.info("gateway.worker_ready", pid=worker.pid)
            self._serving.append(worker)
            self._pause_s = 0.0
            return True
        await worker.kill()
        serves.cancel()
        if not self._stopping.is_set():
            self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            log.error("gateway.worker_failed", pid=worker.pid, again_in_s=self._pause_s)
        return False

    async def _replace(self, old: WorkerProcess) -> None:
        if old not in self._serving:
            return  # it died, and the worker that replaced it is new
        if not await self._start_worker():
            self._stale.clear()
            log.error("gateway.reload_failed", meaning="the old workers keep serving; SIGHUP tries again")
            return
        self._serving.remove(old)
        self._leaving.add(old)
        old.send(Command.RETIRE)

    def _say_ready(self) -> None:
        log.info("gateway.ready", workers=len(self._serving), port=self._settings.gateway_port)
        self._ready_file.set()

    def _send_to_all(self, command: Command) -> None:
        for worker in (*self._serving, *self._leaving):
            worker.send(command)

    async def _end(self) -> None:
        self._ready_file.clear()
        self._send_to_all(Command.DRAIN)
        workers = [*self._serving, *self._leaving]
        if workers:
            seconds = self._settings.drain_s + self._settings.stop_s + _STOP_MARGIN_S
            await asyncio.wait([worker.ended for worker in workers], timeout=seconds)
            await asyncio.gather(*(worker.kill() for worker in workers))


def run_supervisor(settings: GatewaySettings, listener: socket.socket) -> None:
    """Serve with `gateway_workers` processes on this socket until SIGTERM or SIGINT."""

    async def run() -> None:
        await Supervisor(settings, listener, folder).run()

    with tempfile.TemporaryDirectory(prefix="cartstream-gateway-metrics-") as folder:
        asyncio.run(run())
