"""`cartstream jobs` as a process: ready, done by another one when killed, stopped in good order."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from devstack.ports import free_ports
from tests.jobs.conftest import Shop, until


class JobsProcess:
    """One process."""

    def __init__(self, shop: Shop, folder: Path, name: str) -> None:
        self._ready = folder / f"{name}.ready"
        self._port = free_ports(1)[0]
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", "jobs"],
                env={
                    **os.environ,
                    **shop.urls.environment(),
                    "CARTSTREAM_READY_FILE": str(self._ready),
                    "CARTSTREAM_METRICS_PORT": str(self._port),
                    "CARTSTREAM_AGEING_PAUSE_S": "0.2",
                },
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        """Wait until it says that every job is done, here or elsewhere."""

        async def there() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            return self._ready.exists()

        await until(there, "jobs ready")

    async def leads(self) -> set[str]:
        """The jobs that it does itself."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{self._port}/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith("cartstream_jobs_leading{")]
        return {line.split('"')[1] for line in lines if line.endswith(" 1.0")}

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 60)


@pytest.fixture
def processes() -> Iterator[list[JobsProcess]]:
    """Those that a test has started; killed at its end."""
    started: list[JobsProcess] = []
    yield started
    for jobs_process in started:
        jobs_process.process.kill()
        jobs_process.process.wait()


async def test_what_a_killed_process_did_another_one_does(
    shop: Shop, tmp_path: Path, processes: list[JobsProcess]
) -> None:
    first = JobsProcess(shop, tmp_path, "first")
    processes.append(first)
    await first.ready()
    second = JobsProcess(shop, tmp_path, "second")
    processes.append(second)
    await second.ready()
    assert "expiry" in await first.leads()
    assert "expiry" not in await second.leads()
    await shop.has_status(await shop.old_cart(days=8), "expired")

    first.process.kill()

    await shop.has_status(await shop.old_cart(days=8), "expired")
    assert "expiry" in await second.leads()
    assert await second.stop() == 0, second.log.read_text()[-4000:]


async def test_while_postgres_is_away_it_waits(
    shop: Shop, tmp_path: Path, processes: list[JobsProcess]
) -> None:
    server = shop.stack.component("postgres")
    jobs_process = JobsProcess(shop, tmp_path, "jobs")
    processes.append(jobs_process)
    await jobs_process.ready()
    await asyncio.to_thread(server.stop)
    try:

        async def has_lost_its_jobs() -> bool:
            return not await jobs_process.leads()

        await until(has_lost_its_jobs, "no jobs")
    finally:
        await asyncio.to_thread(server.start)
    await shop.has_status(await shop.old_cart(days=8), "expired")
    assert jobs_process.process.poll() is None
    assert await jobs_process.stop() == 0
