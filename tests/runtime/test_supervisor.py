"""The supervisor of workers: who works when, whatever dies or fails."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.supervision.supervisor import Renewal
from tests.support.processes import Process
from tests.support.waiting import until


class Scene:
    """A supervisor and what its workers have noted."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.ready_file = folder / "ready"

    def notes(self, what: str) -> list[tuple[str, int]]:
        """Number and pid of the workers that noted this, in order."""
        lines = (self.folder / "notes").read_text().splitlines() if (self.folder / "notes").exists() else []
        found = [line.split(" ") for line in lines]
        return [(number, int(pid)) for number, pid, said in found if said == what]

    def scale(self, count: int) -> None:
        """Ask for so many workers."""
        (self.folder / "fresh").write_text(str(count))
        (self.folder / "fresh").rename(self.folder / "count")

    async def until_ready(self) -> None:
        """Wait until the ready file is there."""
        await until(self.ready_file.exists, "ready")

    async def until_noted(self, what: str, count: int) -> None:
        """Wait until so many workers have noted it."""
        await until(lambda: len(self.notes(what)) >= count, f"{count} times: {what}")

    async def until_at_work(self, count: int) -> None:
        """Wait until the supervisor has heard of so many that they work: who is new may note it sooner."""
        await until(lambda: self.heard() >= count, f"{count} times: a worker is ready")

    def heard(self) -> int:
        """How often the supervisor has heard that a worker works."""
        return self.process.log.read_text().count("supervisor.worker_ready")

    async def address(self) -> str:
        """Where the supervisor answers probes."""
        return (await asyncio.to_thread(self.ready_file.read_text)).strip()

    async def readiness(self, address: str | None = None) -> dict[str, Any]:
        """What its probe of readiness says."""
        async with httpx.AsyncClient(verify=False, timeout=60) as client:
            document: dict[str, Any] = (
                await client.get(f"{address or await self.address()}/health/ready")
            ).json()
        return document

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait)


@asynccontextmanager
async def supervising(folder: Path, renewal: Renewal, count: int) -> AsyncIterator[Scene]:
    command = ["-m", "tests.runtime.supervised", str(folder), renewal.name, str(count)]
    process = Process("supervisor", command, {}, folder)
    process.launch()
    try:
        yield Scene(process, folder)
    finally:
        process.kill()


@pytest.fixture(params=list(Renewal), ids=lambda renewal: renewal.name)
def renewal(request: pytest.FixtureRequest) -> Renewal:
    """Each way to renew."""
    return Renewal(request.param)


async def test_all_workers_leave_at_sigterm(renewal: Renewal, tmp_path: Path) -> None:
    async with supervising(tmp_path, renewal, 3) as scene:
        await scene.until_ready()
        assert await scene.readiness() == {"status": "ready", "checks": {"workers": {"status": "ok"}}}
        began = scene.notes("begins")
        assert sorted(number for number, _ in began) == ["0", "1", "2"]
        assert await scene.stop() == 0
        assert sorted(scene.notes("leaves")) == sorted(began)
        assert not scene.ready_file.exists()


async def test_a_killed_worker_is_started_again_in_its_place(renewal: Renewal, tmp_path: Path) -> None:
    async with supervising(tmp_path, renewal, 2) as scene:
        await scene.until_ready()
        victim = dict(scene.notes("begins"))["1"]
        address = await scene.address()
        (tmp_path / "broken").touch()
        os.kill(victim, signal.SIGKILL)
        await scene.until_noted("breaks", 1)
        # Of gateways any will do: the port is served.
        status = "degraded" if renewal is Renewal.NEW_FIRST else "not_ready"
        detail = "1 of 2 work; the others are starting, or have ended"
        readiness = await scene.readiness(address)
        assert (readiness["status"], readiness["checks"]["workers"]["detail"]) == (status, detail)
        (tmp_path / "broken").unlink()
        await scene.until_noted("begins", 3)
        assert scene.notes("begins")[-1][0] == "1"
        await scene.until_ready()
        assert await scene.stop() == 0


async def test_sighup_renews_one_after_the_other(renewal: Renewal, tmp_path: Path) -> None:
    async with supervising(tmp_path, renewal, 2) as scene:
        await scene.until_ready()
        first = scene.notes("begins")
        scene.process.send(signal.SIGHUP)
        await scene.until_noted("retires", 2)
        await scene.until_noted("begins", 4)
        assert sorted(scene.notes("retires")) == sorted(first)
        assert await scene.stop() == 0
        lines = (tmp_path / "notes").read_text().splitlines()
    order = [line.split(" ")[2] for line in lines if line.startswith("0 ")]
    old_first = ["begins", "retires", "begins", "leaves"]
    new_first = ["begins", "begins", "retires", "leaves"]
    assert order == (old_first if renewal is Renewal.OLD_FIRST else new_first)


async def test_a_renewal_that_fails_leaves_the_old_workers_at_work(renewal: Renewal, tmp_path: Path) -> None:
    async with supervising(tmp_path, renewal, 2) as scene:
        await scene.until_ready()
        (tmp_path / "broken").touch()
        scene.process.send(signal.SIGHUP)
        await until(lambda: "supervisor.renewal_failed" in scene.process.tail, "the renewal has failed")
        assert scene.notes("retires") == []
        assert scene.ready_file.exists()
        (tmp_path / "broken").unlink()
        scene.process.send(signal.SIGHUP)
        await scene.until_noted("retires", 2)
        assert await scene.stop() == 0


async def test_a_worker_that_cannot_start_is_tried_again_ever_more_slowly(
    renewal: Renewal, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    async with supervising(tmp_path, renewal, 1) as scene:
        await scene.until_noted("breaks", 3)
        assert not scene.ready_file.exists()
        for delay in ("again_in_s=0.25", "again_in_s=0.5"):
            assert delay in scene.process.tail
        (tmp_path / "broken").unlink()
        await scene.until_ready()
        assert await scene.stop() == 0


async def test_workers_of_a_killed_supervisor_retire(renewal: Renewal, tmp_path: Path) -> None:
    async with supervising(tmp_path, renewal, 2) as scene:
        await scene.until_ready()
        scene.process.kill()
        await scene.until_noted("retires", 2)


async def test_at_the_start_all_workers_begin_together(tmp_path: Path) -> None:
    (tmp_path / "late-1").touch()
    async with supervising(tmp_path, Renewal.OLD_FIRST, 3) as scene:
        for number in (0, 2):
            await until((tmp_path / f"loaded-{number}").exists, f"worker {number} has loaded")
        await scene.until_noted("is-late", 1)
        (tmp_path / "late-1").unlink()
        await scene.until_ready()
        lines = (tmp_path / "notes").read_text().splitlines()
        order = [line.split(" ")[2] for line in lines]
        assert order == ["is-late", "catches-up", "begins", "begins", "begins"]
        assert await scene.stop() == 0


async def test_a_worker_that_cannot_start_holds_up_no_other(tmp_path: Path) -> None:
    (tmp_path / "broken-1").touch()
    async with supervising(tmp_path, Renewal.OLD_FIRST, 2) as scene:
        await scene.until_noted("begins", 1)
        assert not scene.ready_file.exists()
        (tmp_path / "broken-1").unlink()
        await scene.until_ready()
        assert await scene.stop() == 0


async def test_more_workers_start_beside_those_that_work(tmp_path: Path) -> None:
    async with supervising(tmp_path, Renewal.OLD_FIRST, 1) as scene:
        await scene.until_ready()
        scene.scale(3)
        await scene.until_at_work(3)
        assert sorted(number for number, _ in scene.notes("begins")) == ["0", "1", "2"]
        assert await scene.stop() == 0
        assert sorted(number for number, _ in scene.notes("leaves")) == ["0", "1", "2"]


async def test_of_fewer_workers_the_last_ones_leave_for_good(tmp_path: Path) -> None:
    async with supervising(tmp_path, Renewal.OLD_FIRST, 3) as scene:
        await scene.until_ready()
        scene.scale(1)
        await scene.until_noted("leaves", 2)
        assert sorted(number for number, _ in scene.notes("leaves")) == ["1", "2"]
        assert scene.ready_file.exists()
        scene.scale(2)
        await scene.until_at_work(4)
        assert scene.notes("begins")[-1][0] == "1"
        assert await scene.stop() == 0
        assert len(scene.notes("leaves")) == 4


async def test_a_worker_that_was_added_and_cannot_start_makes_the_others_no_less_ready(
    tmp_path: Path,
) -> None:
    async with supervising(tmp_path, Renewal.OLD_FIRST, 1) as scene:
        await scene.until_ready()
        (tmp_path / "broken-1").touch()
        scene.scale(2)
        await scene.until_noted("breaks", 2)
        assert scene.ready_file.exists()
        scene.scale(1)
        await until(lambda: "before=2 count=1" in scene.process.tail, "scaled")
        assert await scene.stop() == 0
        assert [number for number, _ in scene.notes("leaves")] == ["0"]


async def test_a_scaled_supervisor_renews_all_workers_it_has_by_then(tmp_path: Path) -> None:
    async with supervising(tmp_path, Renewal.OLD_FIRST, 1) as scene:
        await scene.until_ready()
        scene.scale(2)
        await scene.until_at_work(2)
        scene.process.send(signal.SIGHUP)
        await scene.until_noted("retires", 2)
        await scene.until_noted("begins", 4)
        assert await scene.stop() == 0
