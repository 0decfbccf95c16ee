"""A pool of connections to Postgres, each looked at before use or asked again: an outage costs no request."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.errors import ConnectionTimeout
from psycopg_pool import AsyncConnectionPool

from store.postgres.session import NOTICED, Address, SessionConnection, unless_named

T = TypeVar("T")
Connection: TypeAlias = psycopg.AsyncConnection[Any]

_AT_ONCE_S: Final = 1.0
"""Connections that are found dead within this time have died together."""
_TICK_S: Final = 0.02
_AGAIN_S: Final = 0.5
"""Between two attempts to make a connection that somebody waits for."""
_SHUT_DOWN: Final = frozenset({"57P01", "57P02", "57P03"})
"""What a server says that ends, has crashed, or only starts: its own words, or those of a pooler."""


def is_lost(error: psycopg.OperationalError) -> bool:
    """Whether the error says that the server behind a connection is gone, not that it refuses the work."""
    code = error.sqlstate
    return code is None or code in _SHUT_DOWN or code.startswith("08")


class CheckedPool(AsyncConnectionPool[SessionConnection]):
    """Connections in autocommit mode, made in the background after `open(wait=False)`.

    If one is dead, such as after a failover, all are most likely. The pool of psycopg would try one after the
    other, with ever longer pauses, until the time of the request is over. So the first that is dead takes all
    others with it.
    """

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        min_size: int,
        max_size: int,
        wait_s: float,
        statement_ms: int,
        fresh_s: float = 0.0,
    ) -> None:
        """`name` is what the server shows; a request waits `wait_s` for a connection.

        One that was used within `fresh_s` is not looked at, which is a round trip: for pools that are only
        asked by `read`.
        """
        self._renewed = -_AT_ONCE_S
        self._fresh_s = fresh_s
        self._address = address
        self._settings = {"statement_timeout": f"{statement_ms}ms"}
        # Two attempts at most, and a moment for each to be told that a statement has taken too long.
        self._read_within_s = 2 * (wait_s + statement_ms / 1000) + 1
        super().__init__(
            address.url,
            connection_class=SessionConnection,
            min_size=min_size,
            max_size=max_size,
            open=False,
            check=self._look_at,
            configure=self._settle,
            timeout=wait_s,
            reconnect_timeout=0.0,
            reconnect_failed=self._not_made,
            kwargs={
                "autocommit": True,
                **unless_named(address.url, {"connect_timeout": 2, "application_name": name, **NOTICED}),
            },
        )

    async def _settle(self, connection: SessionConnection) -> None:
        await connection.settle(self._address, self._settings)

    async def until_filled(self, timeout_s: float) -> None:
        """Wait for the connections that are being made since `open`, but no longer than this.

        Only right before the first use: one in use counts as being made. Those that cannot be made are not
        waited for. The `wait` of psycopg closes the pool in the end.
        """

        def are_being_made() -> bool:
            found = self.get_stats()
            return found["pool_available"] < found["pool_size"]

        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while are_being_made():  # noqa: ASYNC110  once, while a process starts
                    await asyncio.sleep(_TICK_S)

    async def _not_made(self, _: Any) -> None:
        """Make another one for requests that wait: the pool of psycopg only makes one when a wait begins."""
        await asyncio.sleep(_AGAIN_S)
        found = self.get_stats()
        if found["requests_waiting"] and not found["pool_available"]:
            await self.check()  # makes another one

    async def read(self, work: Callable[[SessionConnection], Awaitable[T]]) -> T:
        """What `work` returns, which changes nothing: it is done again where its connection has died.

        A server that lacks memory or time would get more work by that, and new connections to make. One that
        does not answer at all is given up. Raises psycopg.Error, PoolTimeout.
        """
        try:
            async with asyncio.timeout(self._read_within_s):
                return await self._read(work)
        except TimeoutError as error:
            await self._renew()
            raise ConnectionTimeout(f"no answer within {self._read_within_s:g} s") from error

    async def _read(self, work: Callable[[SessionConnection], Awaitable[T]]) -> T:
        async with self.connection() as connection:
            try:
                return await work(connection)
            except psycopg.OperationalError as error:
                if not (connection.closed or is_lost(error)):
                    raise
                await connection.close()
        await self._renew()
        async with self.connection() as connection:
            return await work(connection)

    async def _look_at(self, connection: SessionConnection) -> None:
        if time.monotonic() - connection.used_at < self._fresh_s:
            return
        try:
            await self.check_connection(connection)
        except psycopg.Error:
            await self._renew()
            raise

    async def putconn(self, conn: SessionConnection) -> None:
        """As psycopg's; a server that was found to take no writes is left by all connections."""
        conn.used_at = time.monotonic()
        await super().putconn(conn)
        if conn.is_read_only:
            await self._renew()

    async def _renew(self) -> None:
        if time.monotonic() - self._renewed >= _AT_ONCE_S:
            self._renewed = time.monotonic()
            await self.drain()
