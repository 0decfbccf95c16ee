"""The stack as a Python object, for tests and the demo: start, kill, freeze, restart, each component alone.

All methods block and may be called from any thread; a coroutine uses `await asyncio.to_thread(stack.restart,
"redis")` so that its own loop goes on. The supervisor has an event loop on a thread of its own.
"""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from devstack.component import Component
from devstack.components import SERVERS
from devstack.free_ports import free_ports
from devstack.settings import PORTS, StackSettings, Urls
from devstack.spec import RestartPolicy, State
from devstack.supervisor import Reporter, Supervisor
from runtime.settings import load

T = TypeVar("T")


class Quiet:
    """A reporter for tests: everything is in the log files anyway."""

    def changed(self, component: Component) -> None:
        """Says nothing."""

    def note(self, component: Component, text: str) -> None:
        """Says nothing."""

    def line(self, name: str, text: str) -> None:
        """Says nothing."""


class EmbeddedComponent:
    """One component of a running stack, to be hurt and healed."""

    def __init__(self, stack: "EmbeddedStack", component: Component) -> None:
        self._stack = stack
        self._component = component

    @property
    def pid(self) -> int | None:
        """The pid of its process now, None when it has none."""
        return self._component.pid

    @property
    def state(self) -> State:
        """What it is doing."""
        return self._component.state

    @property
    def restarts(self) -> int:
        """How often it was started again by the supervisor."""
        return self._component.restarts

    def start(self) -> None:
        """Starts it, on the data it had; returns when it is ready."""
        self._stack.run(self._component.start())

    def stop(self) -> None:
        """Ends it gently; it stays stopped until `start`."""
        self._stack.run(self._component.stop())

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal to its process group; after SIGKILL, returns when it is gone."""
        self._stack.run(self._component.send(number))

    def pause(self) -> None:
        """Freezes it (SIGSTOP): connections stay open and nothing answers."""
        self.kill(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a frozen component go on (SIGCONT)."""
        self.kill(signal.SIGCONT)

    def wait_ready(self) -> None:
        """Returns when it is ready (again); for a component under RestartPolicy.ALWAYS that was killed."""
        self._stack.run(self._component.wait_ready())


class EmbeddedStack:
    """A stack in a data folder, on free ports unless the settings say otherwise.

    `only` names the components it consists of (default: the three servers). With RestartPolicy.NEVER, the
    default here, what is killed stays dead until `component(name).start()`.
    """

    def __init__(
        self,
        data_dir: Path,
        settings: StackSettings | None = None,
        only: Iterable[str] = tuple(SERVERS),
        policy: RestartPolicy = RestartPolicy.NEVER,
        reporter: Reporter | None = None,
    ) -> None:
        base = settings or load(StackSettings).with_ports(*free_ports(len(PORTS)))
        self.settings = base.model_copy(update={"data_dir": data_dir})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded-stack", daemon=True)
        self._supervisor = Supervisor(self.settings, only, policy, reporter or Quiet())

    @property
    def urls(self) -> Urls:
        """Where the servers answer."""
        return self.settings.urls

    def open(self) -> None:
        """Takes the data folder and starts nothing yet: `ensure` does, one by one."""
        self._thread.start()
        self.run(self._supervisor.open())

    def start(self) -> None:
        """Takes the data folder, starts everything, returns when all is ready; leaves nothing on failure."""
        self.open()
        try:
            self.run(self._supervisor.start())
        except BaseException:
            self.stop()
            raise

    def ensure(self, *names: str) -> None:
        """Starts the named components, and what they depend on, unless they run."""
        self.run(self._supervisor.start(names))

    def stop(self) -> None:
        """Stops everything; the data stays."""
        try:
            self.run(self._supervisor.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def component(self, name: str) -> EmbeddedComponent:
        """The named component."""
        return EmbeddedComponent(self, self._supervisor.components[name])

    def restart(self, name: str) -> None:
        """Stops a component gently and starts it again on the same data and port."""
        component = self.component(name)
        component.stop()
        component.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine of the supervisor to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
