"""The product's processes as tests start, kill and look at them."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx
import psutil

from devstack.free_ports import free_ports
from runtime.failstop import EXIT_RESTART
from tests.support.waiting import until, until_blocking

ROOT: Final = Path(__file__).parents[2]
STOPPED_WITHIN_S: Final = 90.0
INTERNAL: Final = {"CARTSTREAM_PRODUCTS_OWNER": "internal", "CARTSTREAM_ORDERS_OWNER": "internal"}
"""Products and orders are kept by the product."""
EXTERNAL: Final = {"CARTSTREAM_PRODUCTS_OWNER": "external", "CARTSTREAM_ORDERS_OWNER": "external"}
"""Other systems own products and orders."""
PRICED_BY_CALLER: Final = {"CARTSTREAM_PRODUCTS_OWNER": "caller", "CARTSTREAM_ORDERS_OWNER": "external"}
"""There is no catalogue: who adds to a cart states the price."""


class Process:
    """A process with its log in `folder`; it is ready once its ready file is there.

    `command` is what follows the program. The environment is the tests' own, and what is given.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        program: str = sys.executable,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.ready_file = folder / f"{name}.ready"
        self.log = folder / f"{name}.log"
        self._command = [program, *command]
        self._environment = {**os.environ, "CARTSTREAM_READY_FILE": str(self.ready_file), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The process that was launched last."""
        assert self._process is not None, f"{self.name} was never launched"
        return self._process

    @property
    def tail(self) -> str:
        """What it has said lately."""
        return self.log.read_text()[-4000:]

    def launch(self, **environment: str) -> None:
        """Start it, with these variables too, and wait for nothing."""
        self.ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env={**self._environment, **environment}, stdout=log, stderr=log
            )

    def has_ended(self) -> bool:
        """Whether it has ended, by itself or not."""
        return self.running.poll() is not None

    def is_ready(self) -> bool:
        """Whether it does its work. AssertionError with its log if it has ended."""
        assert not self.has_ended(), f"{self.name} ended with {self.running.returncode}:\n{self.tail}"
        return self.ready_file.exists()

    def wait_ready(self) -> None:
        """Returns once it does its work."""
        until_blocking(self.is_ready, f"{self.name} ready", every_s=0.02)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.running.send_signal(number)

    def wait(self, within_s: float | None = STOPPED_WITHIN_S) -> int:
        """Its exit code, once it has ended."""
        return self.running.wait(within_s)

    def kill(self) -> None:
        """Kill -9, and wait for the end; one that was never launched needs nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class GatewayProcess(Process):
    """`python -m gateway.main` on a free port, or another module that runs it."""

    def __init__(self, environment: dict[str, str], folder: Path, module: str = "gateway.main") -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        defaults = {"CARTSTREAM_GATEWAY_PORT": str(self.port), "CARTSTREAM_DRAIN_S": "0.2"}
        super().__init__("gateway", ["-m", module], {**defaults, **environment}, folder)

    def start(self, **environment: str) -> None:
        """Start it, with these variables too; returns when it serves."""
        self.launch(**environment)
        self.wait_ready()

    def workers(self) -> set[int]:
        """The pids of the processes that it has started."""
        return {child.pid for child in psutil.Process(self.running.pid).children()}

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()


class AgentProcess(Process):
    """`cartstream <command>` for a process without HTTP routes of its own; it commits often.

    As its supervisor would, `start` launches again an agent that asks for it: on a machine without time to
    spare it takes itself for frozen.
    """

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], folder: Path, name: str | None = None
    ) -> None:
        name = name or "-".join(command)
        # Several workers each take a free one: there may be no row of them.
        several = "--workers" in command or "supervise" in command
        self._metrics_port = None if several else free_ports(1)[0]
        self._given: dict[str, str] = {}
        defaults = {
            "CARTSTREAM_DATADIR": str(folder / name),
            "CARTSTREAM_COMMIT_INTERVAL_S": "0.2",
        }
        if self._metrics_port is not None:
            defaults["CARTSTREAM_METRICS_PORT"] = str(self._metrics_port)
        super().__init__(name, ["-m", "cli", *command], {**defaults, **environment}, folder)

    def launch(self, **environment: str) -> None:
        """Start it, with these variables too, and wait for nothing."""
        self._given = environment
        super().launch(**environment)

    def launch_if_asked(self) -> None:
        """Start it again if it has ended and asks for that."""
        if self.running.poll() == EXIT_RESTART:
            self.launch(**self._given)

    def is_ready(self) -> bool:
        """Whether it does its work. AssertionError with its log if it has ended for good."""
        self.launch_if_asked()
        return super().is_ready()

    async def start(self, **environment: str) -> None:
        """Start it, with these variables too; returns when it does its work."""
        await asyncio.to_thread(self.launch, **environment)
        await until(self._is_seen_ready, f"{self.name} ready")

    async def _is_seen_ready(self) -> bool:
        """Whether it does its work, and its probes say so."""
        if not self.is_ready():
            return False
        try:
            answers = [await self.ask(f"/health/{probe}") for probe in ("live", "ready")]
        except httpx.TransportError:
            return False  # it has ended; or it stops
        return all(answer.is_success for answer in answers)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return await asyncio.to_thread(self.wait)

    def workers(self) -> dict[str, int]:
        """The pids of the workers that it supervises, by instance id; without those that end."""
        found = {}
        for child in psutil.Process(self.running.pid).children():
            with contextlib.suppress(psutil.Error):
                found[child.environ()["CARTSTREAM_GROUP_INSTANCE_ID"]] = child.pid
        return found

    async def ask(self, path: str) -> httpx.Response:
        """What it answers at its probes and metrics; without a port of its own, once it is ready."""
        address = f"http://127.0.0.1:{self._metrics_port}"
        if self._metrics_port is None:
            address = (await asyncio.to_thread(self.ready_file.read_text)).strip()
        async with httpx.AsyncClient(base_url=address, timeout=60, verify=False) as client:
            return await client.get(path)

    async def metrics(self) -> list[str]:
        """The lines of its metrics."""
        return (await self.ask("/metrics")).text.splitlines()

    async def metric(self, name: str) -> int:
        """The sum of a metric over its labels."""
        samples = [line.split() for line in await self.metrics() if line.startswith((name + "{", name + " "))]
        return sum(int(float(value)) for _, value in samples)


def sink_process(name: str, environment: dict[str, str], folder: Path) -> AgentProcess:
    """`cartstream sinks <name>`, not started yet; the next one takes over from a killed one at once."""
    static = {"CARTSTREAM_GROUP_INSTANCE_ID": f"{name}-0"}
    return AgentProcess(("sinks", name), {**static, **environment}, folder)


def compaction_process(kafka_bootstrap: str, folder: Path, name: str = "compaction") -> AgentProcess:
    """`cartstream streams compaction`, not started yet; the others soon notice that it was killed."""
    environment = {"CARTSTREAM_KAFKA_BOOTSTRAP": kafka_bootstrap, "CARTSTREAM_SESSION_TIMEOUT_S": "6"}
    return AgentProcess(("streams", "compaction"), environment, folder, name)


async def until_at_work(agents: Mapping[str, AgentProcess]) -> None:
    """Wait until every agent works. One that has ended to be started again is, as by its supervisor."""
    for agent in agents.values():
        await until(agent.is_ready, f"{agent.name} at work")
