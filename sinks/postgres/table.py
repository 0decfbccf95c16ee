"""The `carts` table: a batch of rows and deletions in one guarded statement each."""

from types import TracebackType
from typing import Final, Self

from sinks.postgres.batch import Batch
from store.postgres import carts
from store.postgres.carts import Deletion, Row
from store.postgres.connection import RenewedConnection

WRITE_SECONDS: Final = 30
"""A server that has not answered by then is considered frozen: the batch is written over a new connection."""


class CartsTable:
    """Use it from one task. Writing is idempotent: a row never goes back to an older version."""

    def __init__(self, url: str) -> None:
        self._connection = RenewedConnection(url, name="cartstream-sink", timeout_s=WRITE_SECONDS)

    async def write(self, batch: Batch) -> int:
        """Write the batch, all or nothing; returns how many rows it changed (older ones change nothing).

        Raises SchemaOutdated, psycopg.Error or TimeoutError; the batch may or may not have been written then.
        """
        async with self._connection.use() as connection:
            if batch.rows and batch.deletions:
                async with connection.transaction():
                    return await carts.upsert(connection, batch.rows) + await carts.delete(
                        connection, batch.deletions
                    )
            if batch.deletions:
                return await carts.delete(connection, batch.deletions)
            return await carts.upsert(connection, batch.rows) if batch.rows else 0

    async def replace(self, rows: list[Row]) -> int:
        """Write rows even over others of the same version, never over newer ones; returns how many it wrote.

        For rows that somebody has changed by hand. Readers see the old row or the new one. Raises as `write`.
        """
        old = [Deletion(row.cart_id, row.version_number, row.operation_count) for row in rows]
        async with self._connection.use() as connection, connection.transaction():
            await carts.delete(connection, old)
            return await carts.upsert(connection, rows)

    async def close(self) -> None:
        """Close the connection, even in the middle of a statement."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
