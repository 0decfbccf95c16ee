"""`cartstream jobs` as a process: ready, done by another one when killed, stopped in good order."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.jobs.conftest import SystemUnderTest
from tests.support.processes import AgentProcess
from tests.support.waiting import until


class JobsProcess(AgentProcess):
    """A `cartstream jobs` process that looks often for what is to be done."""

    def __init__(self, system: SystemUnderTest, folder: Path, name: str) -> None:
        environment = {**system.urls.environment(), "CARTSTREAM_AGEING_PAUSE_S": "0.2"}
        super().__init__(("jobs",), environment, folder, name)

    async def leads(self) -> set[str]:
        """The jobs that it does itself."""
        lines = [line for line in await self.metrics() if line.startswith("cartstream_jobs_leading{")]
        return {line.split('"')[1] for line in lines if line.endswith(" 1.0")}


StartJobs = Callable[[str], Awaitable[JobsProcess]]


@pytest.fixture
def start_jobs(system: SystemUnderTest, tmp_path: Path) -> Iterator[StartJobs]:
    """Starts processes by name; ready when every job is done, there or elsewhere. Killed at the end."""
    with ExitStack() as cleanup:

        async def start(name: str) -> JobsProcess:
            process = JobsProcess(system, tmp_path, name)
            cleanup.callback(process.kill)
            await process.start()
            return process

        yield start


async def test_what_a_killed_process_did_another_one_does(
    system: SystemUnderTest, start_jobs: StartJobs
) -> None:
    first = await start_jobs("first")
    second = await start_jobs("second")

    async def does_it() -> bool:
        return "expiry" in await first.leads()

    await until(does_it, "the first one has the job")
    assert "expiry" not in await second.leads()
    await system.has_status(await system.old_cart(days=8), "expired")

    first.kill()

    await system.has_status(await system.old_cart(days=8), "expired")
    assert "expiry" in await second.leads()
    assert await second.stop() == 0, second.tail


@pytest.mark.drill
async def test_while_postgres_is_away_it_waits(system: SystemUnderTest, start_jobs: StartJobs) -> None:
    server = system.stack.component("postgres")
    jobs_process = await start_jobs("jobs")
    await asyncio.to_thread(server.stop)
    try:

        async def has_lost_its_jobs() -> bool:
            return not await jobs_process.leads()

        await until(has_lost_its_jobs, "no jobs")
    finally:
        await asyncio.to_thread(server.start)
    await system.has_status(await system.old_cart(days=8), "expired")
    assert not jobs_process.has_ended()
    assert await jobs_process.stop() == 0
