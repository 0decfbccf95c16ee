"""Postgres as requests use it: transactions that either answer in time or are refused quickly."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from gateway.http import problems
from gateway.http.problems import Problem, retry_after
from store.postgres.pool import CheckedPool
from store.postgres.session import Address

log = structlog.get_logger(__name__)

T = TypeVar("T")

Connection = psycopg.AsyncConnection[Any]

_TURN_S: Final = 10.0
"""For transactions of others to end, while Postgres does them."""
_CONNECTION_S: Final = 2.0
"""For a connection, or a new one to be made."""
_STATEMENT_MS: Final = 4_000
"""For a statement, the wait for others' locks included."""
_WITHIN_S: Final = 5.0
"""For a transaction whose turn it is, also when the server says nothing at all."""
_BUSY: Final = {"40001", "40P01", "55P03", "57014"}
"""SQLSTATEs of a server that answers, but has too many who want the same."""


class Database:
    """A pool of connections, connected in the background: nothing else waits for Postgres."""

    def __init__(self, address: Address, pool_size: int) -> None:
        self._pool = CheckedPool(
            address,
            name="cartstream-gateway",
            # All of them at once: the first rush is the worst moment to make connections.
            min_size=pool_size,
            max_size=pool_size,
            wait_s=_CONNECTION_S,
            statement_ms=_STATEMENT_MS,
        )
        # As many as there are connections: who then does not get one at once knows that something is wrong.
        self._turns = asyncio.Semaphore(pool_size)
        self._is_failing = False
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Connect in the background."""
        await self._pool.open(wait=False)

    async def until_connected(self, timeout_s: float) -> None:
        """Wait for the first connections, but no longer than this: requests wait for the missing ones."""
        await self._pool.until_filled(timeout_s)

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns, done in one transaction; what it raises rolls the transaction back.

        Raises the problem `database-unavailable` when Postgres does not do it in time. Then it may yet have
        been done: `work` must be something that can be asked for again.
        """
        await self._take_turn()
        task = asyncio.get_running_loop().create_task(self._transact(work))
        try:
            done, _ = await asyncio.wait({task}, timeout=_WITHIN_S)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        finally:
            self._turns.release()
        if not done:
            # Cancelling asks the server, and a frozen one does not answer that either.
            self._abandon(task)
            self._is_failing = True
            log.warning("database.frozen", seconds=_WITHIN_S)
            raise _unavailable()
        return task.result()

    async def _take_turn(self) -> None:
        """Wait for a connection to be free; whoever waited while Postgres went away does not try it, too."""
        waits = self._turns.locked()
        try:
            async with asyncio.timeout(_TURN_S):
                await self._turns.acquire()
        except TimeoutError:
            raise _unavailable() from None
        if waits and self._is_failing:
            self._turns.release()
            raise _unavailable()

    async def _transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            async with self._pool.connection() as connection, connection.transaction():
                done = await work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            self._is_failing = error.sqlstate not in _BUSY if isinstance(error, psycopg.Error) else True
            log.warning("database.failed", error=repr(error))
            raise _unavailable() from error
        self._is_failing = False
        return done

    def _abandon(self, task: "asyncio.Task[Any]") -> None:
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else looks at it


def _unavailable() -> Problem:
    return Problem(
        problems.DATABASE_UNAVAILABLE,
        "The database did not answer, so that it is unknown whether this was done. "
        "Send the request again, with the same Idempotency-Key: it is never done twice.",
        headers=retry_after(1),
    )
