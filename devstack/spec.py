"""What a component of the stack is, as data: how to start it, when it counts as ready, how to stop it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Protocol

from devstack.settings import StackSettings

NO_ADDRESS = "-"
"""The address of what nobody connects to."""


class Kind(Enum):
    """Servers and processes keep running; a task runs once, to its end, before what depends on it starts."""

    SERVER = "server"
    TASK = "task"
    PROCESS = "process"


class State(Enum):
    """The state of a component."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    FAILED = "failed"


class RestartPolicy(Enum):
    """Whether a component that ended by itself is restarted."""

    ALWAYS = "always"
    NEVER = "never"


class NotReadyError(Exception):
    """The component is not ready yet."""


Probe = Callable[[], Awaitable[None]]
"""Returns when the component does its work, raises NotReadyError while it does not."""

Note = Callable[[str], None]
"""Prints to the terminal what a component is busy with."""


class Preparing(Protocol):
    """What a component's preparation may use."""

    note: Note

    async def run(self, *argv: str, stdin: str = "") -> None:
        """Runs a command that ends. Raises ComponentFailedError with its output when it fails."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a component listens on, and the variable that moves it."""

    number: int
    variable: str


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One component of the stack."""

    name: str
    kind: Kind
    argv: tuple[str, ...]
    address: str
    ready: Probe
    depends: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    prepare: Callable[[Preparing], Awaitable[None]] | None = None
    """Makes data folders, fetches jars: whatever the first start needs, and nothing when it is there."""
    ready_file: Path | None = None
    """The process makes it (CARTSTREAM_READY_FILE) once it does its work, with the address of its probes;
    removed before each start."""
    ready_seconds: float = 90.0
    stop_signal: Signals = SIGTERM
    stop_seconds: float = 10.0


class Build(Protocol):
    """Makes the spec of one component from the settings."""

    def __call__(self, settings: StackSettings) -> ComponentSpec:
        """The component's spec; nothing is started or written."""
        ...
