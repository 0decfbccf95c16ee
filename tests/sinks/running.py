"""The sinks' own processes, to be started, killed and looked at."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

from devstack.embedded import EmbeddedComponent
from devstack.ports import free_ports

ROOT = Path(__file__).parents[2]
WITHIN_SECONDS = 90.0

T = TypeVar("T")


class SinkProcess:
    """`cartstream sinks <name>` with the environment given."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.ready_file = folder / f"{name}.ready"
        self.log = folder / f"{name}.log"
        self._metrics_port = free_ports(1)[0]
        self._environment = {
            **os.environ,
            "CARTSTREAM_READY_FILE": str(self.ready_file),
            "CARTSTREAM_DATADIR": str(folder / "faust"),
            "CARTSTREAM_METRICS_PORT": str(self._metrics_port),
            # The next process takes over from a killed one at once.
            "CARTSTREAM_GROUP_INSTANCE_ID": f"{name}-0",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it; returns when it says that it is ready."""
        self.ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-c", f"from sinks.main import run; run({self.name!r})"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        await until(self._is_ready, f"{self.name} ready")

    def kill(self) -> None:
        """Kill -9, and wait for the end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, WITHIN_SECONDS)

    async def metric(self, name: str) -> int:
        """The sum of a metric over its labels."""
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{self._metrics_port}/metrics")
        samples = [
            line.split() for line in answer.text.splitlines() if line.startswith((name + "{", name + " "))
        ]
        return sum(int(float(value)) for _, value in samples)

    async def _is_ready(self) -> bool:
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            raise AssertionError(f"{self.name} ended with {code}:\n{self.log.read_text()[-4000:]}")
        return self.ready_file.exists()


@contextmanager
def frozen(server: EmbeddedComponent) -> Iterator[None]:
    """A server that stands still."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


async def until(
    condition: Callable[[], Awaitable[T]], what: str, within_s: float = WITHIN_SECONDS, every_s: float = 0.05
) -> T:
    """What the condition returns once that is true. AssertionError if it does not become so."""
    deadline = time.monotonic() + within_s
    while not (result := await condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within_s} s")
        await asyncio.sleep(every_s)
    return result
