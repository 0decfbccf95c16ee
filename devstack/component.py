"""Runs one component of the stack: starts it, waits until it is ready, restarts it when it dies, stops it."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable

from devstack.command import Preparation
from devstack.errors import ComponentFailedError, data_folder_error
from devstack.files import make_private
from devstack.process import LogFile, RunningProcess, Watchdog
from devstack.spec import ComponentSpec, Kind, NotReadyError, RestartPolicy, State
from runtime.supervision.restarts import restart_after

POLL_SECONDS = 0.1
ATTEMPTS_TO_BE_READY = 4


class Component:
    """A component and its current process, if any."""

    def __init__(
        self,
        spec: ComponentSpec,
        policy: RestartPolicy,
        watchdog: Watchdog,
        log: LogFile,
        changed: Callable[["Component"], None],
        note: Callable[["Component", str], None],
    ) -> None:
        self.spec = spec
        self.state = State.WAITING
        self.since = time.time()
        self.restarts = 0
        self.start_seconds: float | None = None
        self.process: RunningProcess | None = None
        self.failure: Exception | None = None
        self._policy = policy
        self._watchdog = watchdog
        self._log = log
        self._report_change = changed
        self._report_note = note
        self._state_changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._wanted = False
        self._stop_requested = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The pid of the process there is now."""
        return self.process.pid if self.process else None

    @property
    def probes(self) -> str | None:
        """Where the process answers probes and metrics; None if it does not, or is not ready."""
        if self.state is not State.READY or self.spec.ready_file is None:
            return None
        try:
            return self.spec.ready_file.read_text().strip() or None
        except FileNotFoundError:
            return None  # it is stopping

    async def start(self) -> None:
        """Starts it unless it runs; returns when it is ready. Raises the error that made it fail."""
        if not self._task_is_done() and (self._task is None or self._task.done()):
            self._wanted = True
            self._stop_requested.clear()
            self.failure = None
            await self._set_state(State.STARTING)
            self._task = asyncio.create_task(self._keep_running())
        await self.wait_ready()

    async def wait_ready(self) -> None:
        """Returns once the component is ready. Raises when it has failed or was stopped instead."""
        async with self._state_changed:
            await self._state_changed.wait_for(
                lambda: self.state in {State.READY, State.FAILED, State.STOPPED}
            )
        if self.failure:
            raise self.failure
        if self.state is not State.READY:
            raise ComponentFailedError(f"{self.spec.name} was stopped before it was ready")

    async def stop(self) -> None:
        """Stops the process, with its stop signal first; it is not restarted."""
        self._wanted = False
        self._stop_requested.set()
        if self.process:
            await self.process.stop(self.spec.stop_signal, self.spec.stop_seconds)
        if self._task:
            await self._task
        if self.state is State.READY:
            await self._set_state(State.STOPPED)

    async def send(self, number: signal.Signals) -> None:
        """Sends a signal to the whole process group; after SIGKILL, returns when the end has been noticed."""
        process = self.process
        if process is None:
            raise ComponentFailedError(f"{self.spec.name} is not running: there is nothing to signal")
        process.signal(number)
        if number is signal.SIGKILL:
            async with self._state_changed:
                await self._state_changed.wait_for(lambda: self.process is not process)

    async def _keep_running(self) -> None:
        try:
            await self._run_until_stopped()
        except OSError as error:
            await self._fail(data_folder_error(error, self._log.folder.parent))
        except Exception as error:  # noqa: BLE001  raised again by wait_ready
            await self._fail(error)
        else:
            if not self._task_is_done():
                await self._set_state(State.STOPPED)

    async def _fail(self, error: Exception) -> None:
        self.failure = error
        await self._set_state(State.FAILED)

    async def _run_until_stopped(self) -> None:
        failures = 0
        ever_ready = False
        while self._wanted:
            began = time.monotonic()
            code, was_ready = await self._run_once(began)
            ever_ready = ever_ready or was_ready
            if not self._wanted or self._task_is_done():
                return
            if self._policy is RestartPolicy.NEVER and ever_ready:
                return
            restart = restart_after(code, time.monotonic() - began, failures)
            failures = restart.failures
            if not ever_ready and failures >= ATTEMPTS_TO_BE_READY:
                raise ComponentFailedError(self._failure_message(code))
            self.restarts += 1
            self._report_note(self, f"ended with {_named(code)}, starting again in {restart.delay:g} s")
            await self._set_state(State.RESTARTING)
            await self._pause(restart.delay)

    def _task_is_done(self) -> bool:
        return self.spec.kind is Kind.TASK and self.state is State.READY

    async def _run_once(self, began: float) -> tuple[int, bool]:
        """Starts the process and waits for its end: the exit code, and whether it was ever ready."""
        spec = self.spec
        if not await self._prepare():
            return 0, False
        env = dict(spec.env)
        if spec.ready_file:
            make_private(spec.ready_file.parent)
            spec.ready_file.unlink(missing_ok=True)
            env["CARTSTREAM_READY_FILE"] = str(spec.ready_file)
        process = self.process = await RunningProcess.launch(spec.argv, env, self._watchdog, self._log)
        self._report_change(self)
        ending = asyncio.create_task(process.wait())
        ready = await self._becomes_ready(ending)
        if ready:
            self.start_seconds = time.monotonic() - began
            await self._set_state(State.READY)
        elif not ending.done():
            self._report_note(self, f"not ready after {spec.ready_seconds:g} s, ending it")
            await process.stop(spec.stop_signal, spec.stop_seconds)
        code = await ending
        self.process = None
        if spec.kind is Kind.TASK and code == 0:
            self.start_seconds = time.monotonic() - began
            await self._set_state(State.READY)
            return code, True
        async with self._state_changed:
            self._state_changed.notify_all()
        return code, ready

    async def _prepare(self) -> bool:
        """Runs the preparation; False when a stop was requested meanwhile."""
        if self.spec.prepare is None:
            return self._wanted
        work = Preparation(self._watchdog, lambda text: self._report_note(self, text))
        preparing = asyncio.ensure_future(self.spec.prepare(work))
        unwanted = asyncio.create_task(self._stop_requested.wait())
        await asyncio.wait([preparing, unwanted], return_when=asyncio.FIRST_COMPLETED)
        unwanted.cancel()
        if not preparing.done():
            preparing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await preparing
            return False
        await preparing
        return self._wanted

    async def _becomes_ready(self, ending: asyncio.Task[int]) -> bool:
        if self.spec.kind is Kind.TASK:
            await asyncio.wait([ending], timeout=self.spec.ready_seconds)
            return False
        deadline = time.monotonic() + self.spec.ready_seconds
        while not ending.done() and time.monotonic() < deadline:
            try:
                await self.spec.ready()
            except NotReadyError:
                await asyncio.wait([ending], timeout=POLL_SECONDS)
            else:
                return not ending.done()
        return False

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop_requested.wait(), timeout=seconds)

    async def _set_state(self, state: State) -> None:
        self.state = state
        self.since = time.time()
        async with self._state_changed:
            self._state_changed.notify_all()
        self._report_change(self)

    def _failure_message(self, code: int) -> str:
        tail = "\n".join(f"  {line}" for line in self._log.tail) or "  (it printed nothing)"
        return f"{self.spec.name} failed to start: it ended with {_named(code)}. Its last lines:\n{tail}"


def _named(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
