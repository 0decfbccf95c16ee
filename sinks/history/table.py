"""The history in Postgres as the sink writes it: a batch is all or nothing."""

from typing import Final, NamedTuple

from sinks.history.batch import Batch
from store.postgres import history
from store.postgres.connection import RenewedConnection
from store.postgres.session import Address

WRITE_SECONDS: Final = 30
"""A server that has not answered by then is considered frozen: the batch is written over a new connection."""


class Written(NamedTuple):
    """How many operations a batch has written, and how many its erasures have deleted."""

    changes: int
    erased: int


class HistoryTable:
    """Use it from one task. Writing is idempotent."""

    def __init__(self, address: Address) -> None:
        self._connection = RenewedConnection(address, name="cartstream-history", timeout_s=WRITE_SECONDS)

    async def write(self, batch: Batch) -> Written:
        """Erase and write, all or nothing.

        Raises SchemaOutdated, psycopg.Error or TimeoutError; the batch may or may not have been written then.
        """
        async with self._connection.use() as connection:
            if not batch.erased:
                return Written(await history.insert(connection, batch.changes), 0)
            async with connection.transaction():
                erased = await history.erase(connection, batch.erased)
                return Written(await history.insert(connection, batch.changes), erased)
