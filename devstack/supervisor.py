"""Starts the components in the order of their dependencies, keeps them running, stops them in reverse.

No kept library fits. circus and supervisor start in order of priority but know neither readiness nor
dependencies; honcho ends everything when one process ends; mode, which comes with Faust, supervises services
inside one process, not processes. What is left to write is small, and its one decision, when to restart, is a
pure function (`runtime.supervision.restarts.restart_after`).
"""

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from signal import SIGKILL
from typing import IO, Protocol

import psutil

from devstack.component import POLL_SECONDS, Component
from devstack.components import specs
from devstack.errors import AlreadyRunningError, data_folder_error
from devstack.files import make_private, private, targets_folder
from devstack.free_ports import require_free
from devstack.process import LogFile, Watchdog
from devstack.settings import StackSettings
from devstack.spec import ComponentSpec, Kind, RestartPolicy
from devstack.status import status_path, write_status

LOCK_SECONDS = 15.0


class Reporter(Protocol):
    """Receives what happens to the components."""

    def changed(self, component: Component) -> None:
        """A component moved to another state or has another process."""

    def note(self, component: Component, text: str) -> None:
        """Something about a component that the user may want to know."""

    def line(self, name: str, text: str) -> None:
        """A component printed a line."""


class Supervisor:
    """The components of one data folder. Create and use it inside one event loop."""

    def __init__(
        self, settings: StackSettings, names: Iterable[str], policy: RestartPolicy, reporter: Reporter
    ) -> None:
        self.settings = settings
        self._specs = specs(settings, names)
        self._policy = policy
        self._reporter = reporter
        self._lock: IO[str] | None = None
        self._watchdog: Watchdog | None = None
        self._logs: list[LogFile] = []
        self._status_path = status_path(settings.data_dir.resolve())
        self.components: dict[str, Component] = {}

    async def open(self) -> None:
        """Locks the data folder; starts nothing.

        Raises AlreadyRunningError when another supervisor has it, PortTakenError when a port is in use,
        DataFolderError when it cannot be written.
        """
        data = self.settings.data_dir.resolve()
        try:
            await self._take(data)
        except OSError as error:
            raise data_folder_error(error, data) from error

    async def _take(self, data: Path) -> None:
        make_private(data)
        self._lock = await _lock(data / "stack.lock")
        for spec in self._specs:
            for port in spec.ports:
                require_free(port.number, spec.name, port.variable)
        # Of processes that were killed with their supervisor: some may not be started again.
        shutil.rmtree(targets_folder(data), ignore_errors=True)
        self._watchdog = Watchdog(self._lock.fileno())
        for spec in self._specs:
            log = LogFile(data / "logs" / f"{spec.name}.log", self._listener(spec))
            self._logs.append(log)
            self.components[spec.name] = Component(
                spec, self._policy, self._watchdog, log, self._changed, self._reporter.note
            )
        write_status(self._status_path, self.components.values())

    async def start(self, names: Iterable[str] | None = None) -> None:
        """Starts components (all, unless named), each after those it depends on; returns when all are ready.

        Raises the first failure; what has started keeps running until `close`.
        """
        chosen = list(self.components) if names is None else list(names)
        try:
            async with asyncio.TaskGroup() as group:
                for name in chosen:
                    group.create_task(self._start_after_dependencies(name))
        except* Exception as failures:  # noqa: BLE001  unwrapped and raised again, whatever it is
            raise _first(failures) from None

    async def close(self) -> None:
        """Stops all components, each after those that depend on it, and unlocks the data folder."""
        stopping: dict[str, asyncio.Task[None]] = {}
        for component in reversed(self.components.values()):
            name = component.spec.name
            dependents = [
                stopping[other] for other in stopping if name in self.components[other].spec.depends
            ]
            stopping[name] = asyncio.create_task(_stop_after(component, dependents))
        await asyncio.gather(*stopping.values())
        if self._watchdog:
            await asyncio.to_thread(self._watchdog.close)
        for log in self._logs:
            log.close()
        self._status_path.unlink(missing_ok=True)
        if self._lock:
            self._lock.close()

    def kill(self) -> None:
        """Sends SIGKILL to every process, for a user who does not wait for `close`."""
        for component in self.components.values():
            if component.process:
                component.process.signal(SIGKILL)

    async def _start_after_dependencies(self, name: str) -> None:
        component = self.components[name]
        async with asyncio.TaskGroup() as group:
            for dependency in component.spec.depends:
                group.create_task(self._start_after_dependencies(dependency))
        await component.start()

    def _changed(self, component: Component) -> None:
        try:
            write_status(self._status_path, self.components.values())
        except OSError as error:
            self._reporter.note(component, f"{self._status_path} cannot be written: {error.strerror}")
        self._reporter.changed(component)

    def _listener(self, spec: ComponentSpec) -> Callable[[str], None]:
        # What a task prints is for those who run it by hand; if it fails, its last lines are shown.
        if spec.kind is Kind.TASK:
            return lambda _text: None
        return lambda text: self._reporter.line(spec.name, text)


async def _stop_after(component: Component, dependents: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*dependents)
    await component.stop()


async def _lock(path: Path) -> IO[str]:
    """Locks the data folder: the open lock file, with this process's pid in it.

    Waits while the watchdog of a dead supervisor, which inherited its lock, ends what that one left.
    """
    file = os.fdopen(private(str(path), os.O_RDWR | os.O_APPEND | os.O_CREAT), "a+")
    deadline = asyncio.get_running_loop().time() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip()
            if _is_alive(owner) or asyncio.get_running_loop().time() > deadline:
                file.close()
                raise AlreadyRunningError(
                    f"{path.parent} is in use by the supervisor with pid {owner}: `cartstream status` shows"
                    " it, `cartstream stop` ends it; a second stack needs CARTSTREAM_DATA_DIR and other ports"
                ) from None
            await asyncio.sleep(POLL_SECONDS)
        else:
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            return file


def _first(failures: BaseExceptionGroup[Exception]) -> Exception:
    failure: Exception | BaseExceptionGroup[Exception] = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _is_alive(owner: str) -> bool:
    """Whether the process that wrote the lock file still runs; a zombie does not."""
    try:
        return bool(psutil.Process(int(owner)).status() != psutil.STATUS_ZOMBIE)
    except (ValueError, psutil.NoSuchProcess):
        return False
