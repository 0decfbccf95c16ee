"""The `carts` table: a batch of rows and deletions in one guarded statement each."""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from sinks.postgres.batch import Batch
from store.postgres import carts, positions
from store.postgres.carts import Row
from store.postgres.connection import RenewedConnection
from store.postgres.positions import Move, Position
from store.postgres.session import Address

WRITE_SECONDS: Final = 30
"""A server that has not answered by then is considered frozen: the batch is written over a new connection."""


class RowsFellBack(Exception):
    """The rows are behind what this sink has written: Postgres was restored to an earlier time."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class CartsTable:
    """Use it from one task. Writing is idempotent: a row never goes back to an older version."""

    def __init__(self, address: Address) -> None:
        self._connection = RenewedConnection(address, name="cartstream-postgres", timeout_s=WRITE_SECONDS)

    async def write(self, batch: Batch, moves: Sequence[Move] = ()) -> int:
        """Write the batch and move the positions, all or nothing; returns how many rows it changed.

        Older rows change nothing. Raises RowsFellBack, SchemaOutdated, psycopg.Error or TimeoutError; at the
        last two the batch may have been written.
        """
        async with self._connection.use() as connection:
            if not (batch.rows or batch.deletions or moves):
                return 0
            async with connection.transaction():
                if moves and not await positions.move(connection, moves):
                    raise RowsFellBack
                changed = await carts.upsert(connection, batch.rows) if batch.rows else 0
                return changed + (await carts.delete(connection, batch.deletions) if batch.deletions else 0)

    async def positions(self, partitions: Sequence[int]) -> dict[int, Position]:
        """How far the rows are, of those partitions that were ever written. Raises as `write`."""
        async with self._connection.use() as connection:
            return await positions.read(connection, partitions)

    async def begin(self, begun: Sequence[Position]) -> None:
        """Note where partitions begin to be written. Raises as `write`."""
        async with self._connection.use() as connection:
            await positions.begin(connection, begun)

    async def replace(self, rows: list[Row]) -> int:
        """Write rows even over others of the same version, never over newer ones; returns how many it wrote.

        For rows that somebody has changed by hand. One that has been trimmed since is newer. Readers see the
        old row or the new one. Raises as `write`.
        """
        async with self._connection.use() as connection, connection.transaction():
            await carts.delete_replaced(connection, rows)
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
