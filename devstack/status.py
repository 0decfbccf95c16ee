"""What the stack is doing, in a file: the supervisor writes it, `cartstream status` reads it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from devstack.component import Component
from devstack.files import write_private
from devstack.spec import State

StateName = Literal["waiting", "starting", "ready", "restarting", "stopped", "failed"]


class ComponentStatus(msgspec.Struct, frozen=True):
    """One component at one moment."""

    name: str
    state: StateName
    address: str
    pid: int | None
    """None for a task that has ended and for what does not run."""
    created: float | None
    """Start of that process, in seconds since the epoch: a pid alone may belong to another one by now."""
    restarts: int
    probes: str | None
    """Where an agent answers `/health/live`, `/health/ready` and `/metrics`, once it is ready."""
    since: float
    """When it came into this state, in seconds since the epoch."""


class StackStatus(msgspec.Struct, frozen=True):
    """A supervisor and its components."""

    pid: int
    created: float
    components: list[ComponentStatus]

    @property
    def ready(self) -> bool:
        """Whether every component is ready."""
        return all(component.state == State.READY.value for component in self.components)


def status_path(data_dir: Path) -> Path:
    """The status file of a data folder."""
    return data_dir / "stack.json"


def write_status(path: Path, components: Iterable[Component]) -> None:
    """Replaces the file atomically: a reader sees the old one or the new one."""
    me = psutil.Process()
    status = StackStatus(me.pid, me.create_time(), [_now(component) for component in components])
    fresh = path.with_suffix(".json.new")
    write_private(fresh, msgspec.json.format(msgspec.json.encode(status)).decode())
    fresh.replace(path)


def read_status(data_dir: Path) -> StackStatus | None:
    """The status now: None when no supervisor runs. A component whose process is gone is stopped."""
    try:
        status = msgspec.json.decode(status_path(data_dir).read_bytes(), type=StackStatus)
    except FileNotFoundError:
        return None
    if not is_alive(status.pid, status.created):
        return None
    return msgspec.structs.replace(status, components=[_checked(each) for each in status.components])


def _now(component: Component) -> ComponentStatus:
    process = component.process
    return ComponentStatus(
        name=component.spec.name,
        state=component.state.value,
        address=component.spec.address,
        pid=process.pid if process else None,
        created=process.created if process else None,
        restarts=component.restarts,
        probes=component.probes,
        since=component.since,
    )


def _checked(component: ComponentStatus) -> ComponentStatus:
    gone = component.pid and not is_alive(component.pid, component.created)
    if gone and component.state == State.READY.value:
        return msgspec.structs.replace(component, state=State.STOPPED.value, pid=None, created=None)
    return component


def is_alive(pid: int, created: float | None) -> bool:
    """Whether the process that started at `created` still runs; a zombie does not."""
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
