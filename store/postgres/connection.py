"""One connection to Postgres that is made when it is needed, and made again when it has failed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import psycopg

from store.postgres.errors import SchemaOutdated

CONNECT_SECONDS: Final = 5


class RenewedConnection:
    """Use it from one task at a time."""

    def __init__(self, url: str, *, name: str, timeout_s: int) -> None:
        """`name` is what the server shows of it. A server silent for `timeout_s` counts as frozen."""
        self._url = url
        self._name = name
        self._timeout_s = timeout_s
        self._connection: psycopg.AsyncConnection | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """The connection, for at most `timeout_s` seconds, in autocommit mode.

        Raises SchemaOutdated, psycopg.Error or TimeoutError; what was to be done may have been done then.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                yield await self._connected()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise SchemaOutdated from error
        except (psycopg.OperationalError, TimeoutError):
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection, even in the middle of a statement."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._url,
                # One statement is one transaction: no round trips for BEGIN and COMMIT.
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name=self._name,
                # The server gives up when this side does, so that no forgotten statement holds on to rows.
                options=f"-c statement_timeout={self._timeout_s}s -c client_connection_check_interval=5s",
            )
        return self._connection
