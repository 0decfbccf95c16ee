"""`cartstream up` as a process of its own, and eyes on what it leaves behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devstack import watchdog
from devstack.free_ports import free_ports
from devstack.settings import PORTS, StackSettings
from devstack.status import ComponentStatus, read_status, status_path
from tests.support.waiting import until_blocking


class Command:
    """Runs `cartstream` in a folder of its own, on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = free_ports(len(PORTS))
        ports = {
            f"CARTSTREAM_{name.upper()}": str(port) for name, port in zip(PORTS, self._ports, strict=True)
        }
        self.env = {**os.environ, **ports, "CARTSTREAM_DATA_DIR": str(folder / "data"), "NO_COLOR": "1"}
        self.output = folder / "output.txt"
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def settings(self) -> StackSettings:
        """The settings that the command runs with."""
        return StackSettings(data_dir=self.folder / "data").with_ports(*self._ports)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "cli", *args],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def launch(self, only: str) -> subprocess.Popen[bytes]:
        """Starts `cartstream up` and does not wait."""
        with self.output.open("ab") as output:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", "cli", "up", "--only", only],
                env=self.env,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(supervisor)
        return supervisor

    def up(self, only: str) -> subprocess.Popen[bytes]:
        """Starts `cartstream up` and returns when all of `only` is ready."""
        supervisor = self.launch(only)
        until_blocking(lambda: supervisor.poll() is not None or self.is_ready(supervisor.pid))
        assert supervisor.poll() is None, self.output.read_text()
        return supervisor

    def is_ready(self, supervisor_pid: int) -> bool:
        """Whether all components of that supervisor do their work."""
        status = read_status(self.settings.data_dir)
        return status is not None and status.pid == supervisor_pid and status.ready

    def component(self, name: str) -> ComponentStatus:
        """One component as the status file has it."""
        status = read_status(self.settings.data_dir)
        assert status is not None
        return next(each for each in status.components if each.name == name)

    def pid(self, name: str) -> int:
        """The pid of a component that runs."""
        pid = self.component(name).pid
        assert pid is not None
        return pid

    def watchdog(self) -> psutil.Process:
        """The process that ends the others when the supervisor is gone."""
        return next(each for each in self.left_behind() if watchdog.__file__ in each.cmdline())

    def left_behind(self) -> list[psutil.Process]:
        """The living processes that this stack started, wherever they hang in the process tree."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            ours = process.environ().get("CARTSTREAM_DATA_DIR") == self.env["CARTSTREAM_DATA_DIR"]
            return bool(ours and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def end(self) -> None:
        """Ends what a failed test left running."""
        for supervisor in self._started:
            if supervisor.poll() is None:
                supervisor.send_signal(signal.SIGTERM)
                supervisor.wait(timeout=120)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """`cartstream` with a data folder and ports of its own."""
    it = Command(tmp_path)
    yield it
    it.end()


@pytest.fixture
def status_file(command: Command) -> Path:
    """The status file of that data folder."""
    return status_path(command.settings.data_dir)
