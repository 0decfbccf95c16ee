"""Keeps several workers of one kind: starts them, starts dead ones again, renews them one by one on SIGHUP.

Their number may change meanwhile. The supervisor does no work of its own. Workers end when it dies, so that
the next one finds no strangers.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from runtime.environment import without_variables
from runtime.health import Checks
from runtime.probes import serve_probes
from runtime.ready import ReadyFile
from runtime.supervision.link import PREPARED, READY, Command
from runtime.supervision.restarts import restart_after
from runtime.supervision.worker_process import WorkerProcess

log = structlog.get_logger(__name__)

T = TypeVar("T")

_WORKERS: Final = "workers"
"""The check of the probe."""

LOADING_S: Final = 30.0
"""How long the first workers wait for each other until they have loaded."""


class Renewal(Enum):
    """How a worker is replaced by a new one."""

    NEW_FIRST = "new first"
    """The new one works before the old one retires; if it cannot, the old one stays."""
    OLD_FIRST = "old first"
    """There may be one at a time: the new one is prepared, then the old one ends, then the new one works."""


def _nothing(_: int) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """What a supervisor keeps."""

    name: str
    """In the log."""
    count: int
    """How many there are at first."""
    argv: Sequence[str]
    environment: Callable[[int], Mapping[str, str]]
    """The variables of worker number 0, 1, …"""
    renewal: Renewal
    stop_s: float
    """How long a worker may take to stop gently; then it is killed."""
    start_s: float | None = None
    """How long it may take until it works; None if it ends by itself when it cannot."""
    descriptors: Sequence[int] = ()
    """File descriptors that it inherits."""
    any_will_do: bool = False
    """Whether the whole is ready as long as one worker is; at the start all must be."""
    ready_file: Path | None = None
    ended: Callable[[int], None] = _nothing
    """Told the pid of each worker that has ended."""


class _Slot:
    """The place of one worker."""

    def __init__(self, number: int, *, awaited: bool) -> None:
        self.number: Final = number
        self.awaited = awaited
        """Whether the whole is not ready without it: not while one that was added still starts."""
        self.worker: WorkerProcess | None = None
        """The one that works; None while there is none."""
        self.keeping: asyncio.Task[None] | None = None
        self.woken: Final = asyncio.Event()
        self.renewed: asyncio.Future[bool] | None = None
        """Wanted: a new worker. The result is whether it works."""

    def answer(self, *, renewed: bool) -> None:
        if self.renewed is not None and not self.renewed.done():
            self.renewed.set_result(renewed)
        self.renewed = None
        self.woken.clear()


class Supervisor:
    """Keeps `workers` until SIGTERM or SIGINT; a second signal cuts the gentle stop short."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._ready_file = ReadyFile(workers.ready_file)
        self._slots = [_Slot(number, awaited=True) for number in range(workers.count)]
        self._alive: dict[WorkerProcess, int] = {}
        """All processes, with the numbers of their slots."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()
        self._renewal_wanted = asyncio.Event()
        self._loading = set(self._slots)
        """Those whose first worker has neither loaded everything nor ended."""
        self._all_loaded = asyncio.Event()
        self._complete = False
        self._changing = asyncio.Lock()
        """Held by who renews all workers, or changes their number."""
        self._endless: set[asyncio.Task[None]] = set()
        self._address: str | None = None
        self._checks = Checks(**{_WORKERS: "they are starting"})

    def serve_probes(self, host: str, port: int | None) -> str | None:
        """Answer probes of the whole from now on; the address, if there is one. Raises Misconfigured."""
        self._address = serve_probes(self._checks, host, port)
        return self._address

    @property
    def count(self) -> int:
        """How many workers there are to be."""
        return len(self._slots)

    async def run(self, meanwhile: Coroutine[Any, Any, None] | None = None) -> None:
        """Start all workers and look after them; returns when all have ended.

        `meanwhile` runs as long as it is not told to stop; an exception of it ends all workers and is raised.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._renewal_wanted.set)
        self._ready_file.clear()
        for slot in self._slots:
            slot.keeping = self._endlessly(self._keep(slot))
        self._endlessly(self._renew_on_demand())
        if meanwhile is not None:
            self._endlessly(meanwhile)
        await self._stopping.wait()
        tasks = list(self._endless)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await self._end()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def scale(self, count: int) -> None:
        """Make them `count` workers: new ones start, or the last ones leave. Waits for a renewal of all.

        Returns once those that leave have ended, and before the new ones work.
        """
        async with self._changing:
            log.info("supervisor.scaling", workers=self._workers.name, before=len(self._slots), count=count)
            while len(self._slots) < count:
                slot = _Slot(len(self._slots), awaited=False)
                self._slots.append(slot)
                slot.keeping = self._endlessly(self._keep(slot))
            while len(self._slots) > count:
                await self._drop(self._slots.pop())
                self._look()

    def _endlessly(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do it until the end; if it fails, that is the end."""
        task = asyncio.create_task(work)
        self._endless.add(task)
        task.add_done_callback(self._is_over)
        return task

    def _is_over(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            self._endless.discard(task)
        else:
            self._stopping.set()

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._tell_all(Command.STOP)
        log.info("supervisor.stopping", workers=self._workers.name)
        self._stopping.set()

    # One worker

    async def _keep(self, slot: _Slot) -> None:
        """Keep the slot filled, until cancelled. Failures in a row delay the next try."""
        failures = 0
        while True:
            worker = await self._launch(slot)
            if worker is not None and await self._takes(slot, worker, old=None):
                worker = await self._until_it_ends(slot)
            self._has_loaded(slot)
            slot.answer(renewed=False)
            self._look()
            code, lasted_s = (-1, 0.0) if worker is None else (worker.ended.result(), worker.lasted_s)
            restart = restart_after(code, lasted_s, failures)
            failures = restart.failures
            log.error(
                "supervisor.worker_ended",
                workers=self._workers.name,
                number=slot.number,
                pid=worker.pid if worker else None,
                code=code,
                again_in_s=restart.delay,
            )
            await asyncio.sleep(restart.delay)

    async def _launch(self, slot: _Slot) -> WorkerProcess | None:
        try:
            # What has been started must be known, or nobody would end it.
            return await asyncio.shield(self._aside(self._start(slot.number)))
        except OSError as error:
            log.warning(
                "supervisor.cannot_start", workers=self._workers.name, number=slot.number, error=repr(error)
            )
            return None

    async def _start(self, number: int) -> WorkerProcess:
        workers = self._workers
        worker = await WorkerProcess.start(workers.argv, workers.environment(number), workers.descriptors)
        self._alive[worker] = number
        worker.ended.add_done_callback(lambda _: self._forget(worker))
        return worker

    async def _takes(self, slot: _Slot, new: WorkerProcess, old: WorkerProcess | None) -> bool:
        """Whether the new worker does its work and has the slot, after the old one; if not, it has ended."""
        works = await self._has_its_turn(slot, new, old) and await new.says(READY, self._workers.start_s)
        if not works:
            await new.end_within(0)
            return False
        slot.worker = new
        slot.awaited = True
        log.info("supervisor.worker_ready", workers=self._workers.name, number=slot.number, pid=new.pid)
        slot.answer(renewed=True)
        self._look()
        return True

    async def _has_its_turn(self, slot: _Slot, new: WorkerProcess, old: WorkerProcess | None) -> bool:
        if self._workers.renewal is Renewal.NEW_FIRST:
            return True
        if not await new.says(PREPARED, self._workers.start_s):
            return False
        self._has_loaded(slot)
        if old is not None:
            slot.worker = None
            self._look()
            await self._retire(old)
        await self._until_all_have_loaded()
        new.send(Command.WORK)
        return True

    def _has_loaded(self, slot: _Slot) -> None:
        self._loading.discard(slot)
        if not self._loading:
            self._all_loaded.set()

    async def _until_all_have_loaded(self) -> None:
        """At the start: whoever joins a group stops all of its members, so all join at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOADING_S):
                await self._all_loaded.wait()

    async def _until_it_ends(self, slot: _Slot) -> WorkerProcess | None:
        """Returns the worker that has ended unasked, or could not take its place (None: it did not start)."""
        while slot.worker is not None:
            worker = slot.worker
            woken = asyncio.create_task(slot.woken.wait())
            await asyncio.wait([worker.ended, woken], return_when=asyncio.FIRST_COMPLETED)
            woken.cancel()
            if worker.ended.done():
                slot.worker = None
                return worker
            slot.woken.clear()
            new = await self._launch(slot)
            if new is not None and await self._takes(slot, new, worker):
                if self._workers.renewal is Renewal.NEW_FIRST:
                    self._aside(self._retire(worker))
            elif slot.worker is None:
                return new  # the old one has made room for nothing
            else:
                slot.answer(renewed=False)
        return None

    async def _retire(self, worker: WorkerProcess) -> None:
        worker.send(Command.RETIRE)
        await worker.end_within(self._workers.stop_s)

    def _aside(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do it whatever becomes of the task that asks for it; the end waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget(self, worker: WorkerProcess) -> None:
        self._alive.pop(worker, None)
        self._workers.ended(worker.pid)

    async def _drop(self, slot: _Slot) -> None:
        """End the worker of a slot that is given up."""
        if slot.keeping is not None:
            slot.keeping.cancel()
            await asyncio.wait({slot.keeping})
        self._has_loaded(slot)
        if self._tasks:
            await asyncio.wait(self._tasks)  # one that is being started is known afterwards
        own = [worker for worker, number in self._alive.items() if number == slot.number]
        await self._leave(own, {slot.worker})

    # All workers

    async def _renew_on_demand(self) -> None:
        """At each SIGHUP renew all, one by one; a worker that cannot be renewed ends the round."""
        while True:
            await self._renewal_wanted.wait()
            self._renewal_wanted.clear()
            async with self._changing:
                await self._renew()

    async def _renew(self) -> None:
        log.info("supervisor.renewing", workers=self._workers.name, count=len(self._slots))
        for slot in self._slots:
            slot.renewed = asyncio.get_running_loop().create_future()
            slot.woken.set()
            if not await slot.renewed:
                log.error(
                    "supervisor.renewal_failed",
                    workers=self._workers.name,
                    number=slot.number,
                    meaning="the other workers stay as they are; SIGHUP tries again",
                )
                return
        log.info("supervisor.renewed", workers=self._workers.name, count=len(self._slots))

    def _look(self) -> None:
        """Set or clear the ready file; say how many work."""
        awaited = [slot for slot in self._slots if slot.awaited]
        working = sum(slot.worker is not None for slot in awaited)
        some = f"{working} of {len(awaited)} work; the others are starting, or have ended"
        if working == len(awaited):
            if not self._complete:
                log.info("supervisor.ready", workers=self._workers.name, count=working)
            self._complete = True
            self._ready_file.set(self._address)
            self._checks.ok(_WORKERS)
        elif self._workers.any_will_do and self._complete and working:
            self._checks.degraded(_WORKERS, some)
        else:
            self._complete = False
            self._ready_file.clear()
            self._checks.failed(_WORKERS, some)

    def _tell_all(self, command: Command) -> None:
        for worker in self._alive:
            worker.send(command)

    async def _end(self) -> None:
        self._ready_file.clear()
        self._checks.failed(_WORKERS, "they are stopping")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._leave(list(self._alive), {slot.worker for slot in self._slots})
        log.info("supervisor.stopped", workers=self._workers.name)

    async def _leave(self, workers: Sequence[WorkerProcess], ready: Container[WorkerProcess | None]) -> None:
        """Have them end for good, gently. Those that are not ready may not read commands yet."""
        for worker in workers:
            if worker in ready:
                worker.send(Command.LEAVE)
            else:
                worker.terminate()
        await asyncio.gather(*(worker.end_within(self._workers.stop_s) for worker in workers))


def inherited_environment(*without: str) -> dict[str, str]:
    """The environment of this process without its ready file, which stands for the whole, and `without`."""
    return without_variables(os.environ, {"CARTSTREAM_READY_FILE", *without})
