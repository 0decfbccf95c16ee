"""A pool of connections to Postgres, each looked at before use: a server that was away costs no request."""

import time
from typing import Any, Final, TypeAlias

import psycopg
from psycopg_pool import AsyncConnectionPool

Connection: TypeAlias = psycopg.AsyncConnection[Any]

_AT_ONCE_S: Final = 1.0
"""Connections that are found dead within this time have died together."""


class CheckedPool(AsyncConnectionPool[Connection]):
    """Connections in autocommit mode, made in the background after `open(wait=False)`.

    If one is dead, such as after a failover, all are most likely. The pool of psycopg would try one after the
    other, with ever longer pauses, until the time of the request is over. So the first that is dead takes all
    others with it.
    """

    def __init__(
        self, url: str, *, name: str, min_size: int, max_size: int, wait_s: float, statement_ms: int
    ) -> None:
        """`name` is what the server shows; a request waits `wait_s` for a connection."""
        self._renewed = -_AT_ONCE_S
        super().__init__(
            url,
            min_size=min_size,
            max_size=max_size,
            open=False,
            check=self._look_at,
            timeout=wait_s,
            reconnect_timeout=0.0,
            kwargs={
                "autocommit": True,
                "connect_timeout": 2,
                "options": f"-c statement_timeout={statement_ms}",
                "application_name": name,
            },
        )

    async def _look_at(self, connection: Connection) -> None:
        try:
            await self.check_connection(connection)
        except psycopg.Error:
            if time.monotonic() - self._renewed >= _AT_ONCE_S:
                self._renewed = time.monotonic()
                await self.drain()
            raise
