"""Gives each job to one process at a time: a session lock in Postgres on the job's own connection.

The lock goes with its session, so nobody has to give it back: a killed process's at once, one whose machine
is gone when the server's keepalives fail, a frozen one's when the server ends the idle session.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
import stamina
import structlog
from psycopg.pq import TransactionStatus

from jobs import metrics
from jobs.job import Job
from runtime.failstop import Misconfigured
from store.postgres.session import Address, PoolerBetween, connect

log = structlog.get_logger(__name__)

LOCK_PREFIX: Final = "cartstream.jobs."
BUSY_SECONDS: Final = 30
"""The longest statement. The server ends a session that is silent for twice as long."""
STANDBY_SECONDS: Final = 2.0
BEAT_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 1.0
BACKOFF_SECONDS: Final = 15.0
STEADY_SECONDS: Final = 60.0
"""After this long without a failure the backoff starts from the beginning."""

_SETTINGS: Final = {
    "statement_timeout": f"{BUSY_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{BUSY_SECONDS}s",
    "idle_session_timeout": f"{2 * BUSY_SECONDS}s",
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"


class LeadershipLost(Exception):
    """The connection that holds the job's lock is gone: another process may have the job now."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


async def run_as_leader(job: Job, address: Address, has_leader: Callable[[], None]) -> None:
    """Run the job whenever this process holds its lock, until cancelled.

    `has_leader` is called whenever the lock was asked for: the job has a leader, here or elsewhere. Raises
    PoolerBetween.
    """
    # From the start: a job that is never done would have no time to tell of.
    metrics.LAST_SUCCESS.labels(job.name)
    while True:
        # Any other: a failure of one job, even a bug, must not stop the others.
        async for attempt in stamina.retry_context(
            on=_may_pass,
            attempts=None,
            timeout=None,
            wait_initial=0.5,
            wait_max=BACKOFF_SECONDS,
        ):
            with attempt:
                await _lead_once(job, address, has_leader)
        await asyncio.sleep(PAUSE_SECONDS)


def _may_pass(error: BaseException) -> bool:
    """Whether to try again: neither after a wrong setting, nor when cancelled."""
    return isinstance(error, Exception) and not isinstance(error, Misconfigured)


async def _lead_once(job: Job, address: Address, has_leader: Callable[[], None]) -> None:
    began = time.monotonic()
    try:
        async with leadership(job.name, address, has_leader) as connection:
            began = time.monotonic()
            metrics.STARTS.labels(job.name).inc()
            with metrics.LEADING.labels(job.name).track_inprogress():
                await _while_connected(job, connection)
    except Misconfigured:
        raise
    except Exception as error:
        # Counted and logged here; the backoff is the caller's.
        metrics.FAILURES.labels(job.name).inc()
        log.warning("jobs.failed", job=job.name, error=repr(error))
        if time.monotonic() - began < STEADY_SECONDS:
            raise


@asynccontextmanager
async def leadership(
    name: str, address: Address, has_leader: Callable[[], None]
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """The connection that holds the lock of the job; waits while another process has it.

    Raises psycopg.Error, TimeoutError, PoolerBetween.
    """
    try:
        connection = await connect(address, name=f"cartstream-jobs-{name}", settings=_SETTINGS)
    except BaseException:
        metrics.forget(name)
        raise
    try:
        if connection.is_pooled:
            raise PoolerBetween("cartstream jobs")
        # Shops that share a database have jobs of their own.
        while not await _try_lock(connection, f"{address.schema}.{name}"):
            metrics.forget(name)
            has_leader()
            await asyncio.sleep(STANDBY_SECONDS)
        has_leader()
        log.info("jobs.leading", job=name)
        yield connection
    finally:
        await connection.close()


async def _try_lock(connection: psycopg.AsyncConnection[Any], name: str) -> bool:
    async with asyncio.timeout(BUSY_SECONDS):
        cursor = await connection.execute(_TRY_LOCK, (LOCK_PREFIX + name,))
        found = await cursor.fetchone()
    return bool(found and found[0])


async def _while_connected(job: Job, connection: psycopg.AsyncConnection[Any]) -> None:
    """Run the job; cancel it when the connection is gone. Raises LeadershipLost, or what the job raises."""
    working = asyncio.create_task(job.run(connection), name=f"job-{job.name}")
    beating = asyncio.create_task(_beat(connection), name=f"beat-{job.name}")
    try:
        await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise LeadershipLost from beating.exception()
        working.result()
    finally:
        for task in (working, beating):
            task.cancel()
        await asyncio.gather(working, beating, return_exceptions=True)


async def _beat(connection: psycopg.AsyncConnection[Any]) -> None:
    """Notice that the connection is gone while the job does not use it, and keep the session from idling.

    While the job uses it, the job notices. Raises psycopg.Error, TimeoutError.
    """
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        if connection.closed:
            raise psycopg.OperationalError("the connection is closed")
        in_use = connection.lock.locked() or connection.info.transaction_status != TransactionStatus.IDLE
        if not in_use:
            async with asyncio.timeout(BUSY_SECONDS):
                await connection.execute("SELECT 1")
