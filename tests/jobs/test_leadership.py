"""A job is done by one process at a time, for as long as that holds the lock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY

from devstack.free_ports import free_ports
from jobs import leadership, metrics
from jobs.leadership import run_as_leader
from store.postgres.session import Address

PATIENCE_S = 60


class Rounds:
    """A job that notes how often it was begun and ended, and works until it is cancelled."""

    name = "rounds"

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.ended = asyncio.Semaphore(0)
        self.failing = 0
        self.pid = 0

    async def run(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Begin, fail if asked to, or work on without the connection."""
        self.pid = connection.info.backend_pid
        self.begun.release()
        if self.failing:
            self.failing -= 1
            raise RuntimeError("a bug")
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.release()


async def seen(signal: asyncio.Semaphore) -> None:
    """Wait for a signal that must come."""
    async with asyncio.timeout(PATIENCE_S):
        await signal.acquire()


@asynccontextmanager
async def attending(job: Rounds, url: str) -> AsyncIterator[asyncio.Event]:
    """A process that attends to the job; the event says that it has asked for the lock."""
    asked = asyncio.Event()
    task = asyncio.create_task(run_as_leader(job, Address(url), asked.set))
    try:
        yield asked
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def unsettled() -> float | None:
    """The orders that the job has counted."""
    return REGISTRY.get_sample_value("cartstream_jobs_orders_unsettled", {"standing": "due"})


async def end_session(url: str, pid: int) -> None:
    """As when the server or the way to it is lost."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
        await admin.execute("SELECT pg_terminate_backend(%s)", (pid,))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "STANDBY_SECONDS", 0.05)
    monkeypatch.setattr(leadership, "BEAT_SECONDS", 0.05)


async def test_another_process_takes_a_duty_over_when_the_one_that_had_it_is_gone(postgres_url: str) -> None:
    first, second = Rounds(), Rounds()
    async with attending(second, postgres_url) as asked:
        await seen(second.begun)
        async with attending(first, postgres_url) as also_asked:
            await also_asked.wait()
            assert asked.is_set()
            assert first.begun.locked()
            await end_session(postgres_url, second.pid)
            await seen(second.ended)
            await seen(first.begun)


async def test_what_was_counted_is_forgotten_once_another_process_counts(postgres_url: str) -> None:
    job = Rounds()
    job.name = "settlement"
    metrics.ORDERS_UNSETTLED.labels("due").set(3)
    metrics.OUTBOX_ROWS.set(5)
    async with leadership.leadership("settlement", Address(postgres_url), lambda: None):
        assert unsettled() == 3
        async with attending(job, postgres_url) as asked:
            await asked.wait()
            assert unsettled() == 0
    assert REGISTRY.get_sample_value("cartstream_jobs_outbox_rows") == 5


async def test_what_was_counted_is_forgotten_by_a_process_that_does_not_reach_postgres() -> None:
    metrics.ORDERS_UNSETTLED.labels("due").set(3)
    (port,) = free_ports(1)
    with pytest.raises(psycopg.OperationalError):
        async with leadership.leadership(
            "settlement", Address(f"postgresql://127.0.0.1:{port}/x"), lambda: None
        ):
            pass
    assert unsettled() == 0


async def test_a_duty_whose_connection_is_lost_is_cancelled_and_begun_again(postgres_url: str) -> None:
    job = Rounds()
    async with attending(job, postgres_url):
        for _ in range(2):
            await seen(job.begun)
            await end_session(postgres_url, job.pid)
            await seen(job.ended)
        await seen(job.begun)


async def test_a_duty_that_fails_is_begun_again(postgres_url: str) -> None:
    job = Rounds()
    job.failing = 2
    async with attending(job, postgres_url):
        for _ in range(3):
            await seen(job.begun)


async def test_a_duty_that_was_never_done_says_so_from_the_start(postgres_url: str) -> None:
    job = Rounds()
    async with attending(job, postgres_url):
        await seen(job.begun)
        done = REGISTRY.get_sample_value("cartstream_jobs_last_success_timestamp_seconds", {"job": job.name})
    assert done == 0


async def test_a_duty_that_was_stopped_leaves_its_lock_to_others(postgres_url: str) -> None:
    first, second = Rounds(), Rounds()
    async with attending(first, postgres_url):
        await seen(first.begun)
    await seen(first.ended)
    async with attending(second, postgres_url):
        await seen(second.begun)
