"""Postgres as requests use it: transactions that either answer in time or are refused quickly."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from gateway import problems
from gateway.problems import Problem, retry_after

log = structlog.get_logger(__name__)

T = TypeVar("T")

Connection = psycopg.AsyncConnection[Any]

_CONNECTION_S: Final = 2.0
"""For a connection to come free, or a new one to be made."""
_STATEMENT_S: Final = 4.0
"""For a statement, the wait for others' locks included."""
_WITHIN_S: Final = 5.0
"""For all of it, also when the server says nothing at all."""


class Database:
    """A pool of connections, connected in the background: nothing else waits for Postgres."""

    def __init__(self, postgres_url: str, pool_size: int) -> None:
        self._pool = AsyncConnectionPool(
            postgres_url,
            min_size=1,
            max_size=pool_size,
            open=False,
            # After Postgres was away all connections are dead.
            check=AsyncConnectionPool.check_connection,
            timeout=_CONNECTION_S,
            reconnect_timeout=0.0,
            kwargs={
                "autocommit": True,
                "connect_timeout": 2,
                "options": f"-c statement_timeout={_STATEMENT_S}s",
                "application_name": "cartstream-gateway",
            },
        )
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Connect in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns, done in one transaction; what it raises rolls the transaction back.

        Raises the problem `database-unavailable` when Postgres does not do it in time. Then it may yet have
        been done: `work` must be something that can be asked for again.
        """
        task = asyncio.get_running_loop().create_task(self._transact(work))
        try:
            done, _ = await asyncio.wait({task}, timeout=_WITHIN_S)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if not done:
            # Cancelling asks the server, and a frozen one does not answer that either.
            self._abandon(task)
            raise _unavailable("it did not answer")
        return task.result()

    async def _transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            async with self._pool.connection() as connection, connection.transaction():
                return await work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise _unavailable(repr(error)) from error

    def _abandon(self, task: "asyncio.Task[Any]") -> None:
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else looks at it


def _unavailable(error: str) -> Problem:
    log.warning("database.unavailable", error=error)
    return Problem(
        problems.DATABASE_UNAVAILABLE,
        "The database did not answer, so that it is unknown whether this was done. "
        "Send the request again, with the same Idempotency-Key: it is never done twice.",
        headers=retry_after(1),
    )
