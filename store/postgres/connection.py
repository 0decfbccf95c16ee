"""One connection to Postgres that is made when it is needed, and made again when it has failed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from store.postgres.errors import NotGranted, SchemaOutdated
from store.postgres.session import Address, SessionConnection, connect


class RenewedConnection:
    """Use it from one task at a time."""

    def __init__(self, address: Address, *, name: str, timeout_s: int) -> None:
        """`name` is what the server shows of it. A server silent for `timeout_s` counts as frozen."""
        self._address = address
        self._name = name
        self._timeout_s = timeout_s
        self._connection: SessionConnection | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[SessionConnection]:
        """The connection, for at most `timeout_s` seconds, in autocommit mode.

        Raises SchemaOutdated, psycopg.Error or TimeoutError; what was to be done may have been done then.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                yield await self._connected()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise SchemaOutdated from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise NotGranted from error
        except (psycopg.OperationalError, TimeoutError):
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection, even in the middle of a statement."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> SessionConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await connect(
                self._address,
                name=self._name,
                # The server gives up when this side does, so that no forgotten statement holds on to rows.
                settings={
                    "statement_timeout": f"{self._timeout_s}s",
                    "client_connection_check_interval": "5s",
                },
            )
        return self._connection
