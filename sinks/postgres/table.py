"""The `carts` table: a batch in one guarded statement, over one connection that is renewed when it fails."""

import asyncio
from types import TracebackType
from typing import Final, Self

import psycopg

from sinks.postgres.batch import Batch
from store.postgres import carts
from store.postgres.carts import Deletion, Row
from store.postgres.errors import SchemaOutdated

CONNECT_SECONDS: Final = 5
WRITE_SECONDS: Final = 30
"""A server that has not answered by then is taken for frozen: the batch is written over a new connection."""


class CartsTable:
    """Use it from one task. Writing is idempotent: a row never goes back to an older version."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.AsyncConnection | None = None

    async def write(self, batch: Batch) -> int:
        """Write the batch, all or nothing; returns how many rows it changed (older ones change nothing).

        Raises SchemaOutdated, psycopg.Error or TimeoutError; the batch may or may not have been written then.
        """
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                connection = await self._connected()
                if batch.rows and batch.deletions:
                    async with connection.transaction():
                        return await carts.upsert(connection, batch.rows) + await carts.delete(
                            connection, batch.deletions
                        )
                if batch.deletions:
                    return await carts.delete(connection, batch.deletions)
                return await carts.upsert(connection, batch.rows) if batch.rows else 0
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise SchemaOutdated from error
        except (psycopg.OperationalError, TimeoutError):
            await self.close()
            raise

    async def replace(self, rows: list[Row]) -> int:
        """Write rows even over others of the same version, never over newer ones; returns how many it wrote.

        For rows that somebody has changed by hand. Readers see the old row or the new one. Raises as `write`.
        """
        old = [Deletion(row.cart_id, row.version_number, row.operation_count) for row in rows]
        async with asyncio.timeout(WRITE_SECONDS):
            connection = await self._connected()
            async with connection.transaction():
                await carts.delete(connection, old)
                return await carts.upsert(connection, rows)

    async def close(self) -> None:
        """Let the connection go, whatever it is doing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._url,
                # One statement is one transaction: no round trips for BEGIN and COMMIT.
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name="cartstream-sink",
                # The server gives up when this side does, so that no forgotten statement holds on to rows.
                options=f"-c statement_timeout={WRITE_SECONDS}s -c client_connection_check_interval=5s",
            )
        return self._connection


def is_bad_data(error: BaseException) -> bool:
    """Whether the rows are to blame, so that trying again cannot help: SQLSTATE classes 22, 23 and 54.

    22 and 23 are psycopg's DataError and IntegrityError, which it also raises itself for what it cannot send.
    54 is a value beyond a limit of the program.
    """
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return True
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("54")
