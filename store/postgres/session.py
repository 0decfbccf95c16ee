"""Connections to Postgres that see one schema only and have settings of their own, through a pooler too.

Nothing is asked for at the start of a connection: PgBouncer refuses it there, and what a URL says of it in
`options` would be replaced. Settings are made by the first statement. Behind a pooler, whose server may be
another one in each transaction, every transaction makes them anew.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from runtime.failstop import Misconfigured
from store.postgres.queries import queries_of

PUBLIC: Final = "public"
"""The schema where none is named."""
CONNECT_SECONDS: Final = 5
NOTICED: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""Parameters of libpq: with these the kernel gives up a host that is gone without a word within 25 s. By
default it hopes for a quarter of an hour for what it has sent, for two hours where it waits for an answer."""
_PLANS: Final = {"plan_cache_mode": "force_custom_plan"}
"""A plan that Postgres keeps for a prepared statement was made for the table as it was: small, most likely.
Until there are new statistics, a minute or more into a shop's first rush, all rows would be read for one."""
_SETTLED_WITHIN_S: Final = 5
_query: Final = queries_of("session")


class Address(msgspec.Struct, frozen=True):
    """A database by its URL, and the schema in it that has the tables."""

    url: str
    schema: str = PUBLIC


class PoolerBetween(Misconfigured):
    """A pooler such as PgBouncer lies between: what is to be done needs a session of its own in Postgres."""

    def __init__(self, who: str) -> None:
        super().__init__(
            f"{who} needs a session of its own in Postgres, and CARTSTREAM_POSTGRES_URL leads to a pooler "
            "(PgBouncer): set it to the address of Postgres itself. All but the jobs and `migrate` may "
            "go through a pooler"
        )


class ServerReadOnly(psycopg.OperationalError):
    """The server takes no writes: another one is the primary now. The next connection looks for it."""

    def __init__(self) -> None:
        super().__init__(self.__doc__ or "")


class SessionConnection(psycopg.AsyncConnection[Any]):
    """A connection whose statements run with settings of its own.

    It closes itself when it finds itself at a server that takes no writes, and raises ServerReadOnly.
    """

    is_pooled = False
    """Whether a pooler lies between."""
    is_read_only = False
    """Whether it was closed because the server took no writes."""
    used_at = -math.inf
    """When a pool last got it back (time.monotonic)."""
    _of_transactions: Mapping[str, object] | None = None

    async def settle(self, address: Address, settings: Mapping[str, str]) -> None:
        """Make the settings, the schema included, for as long as the connection lasts. Once, and first.

        Closes the connection when it fails: raises psycopg.Error, TimeoutError.
        """
        made = {"search_path": address.schema, **_PLANS, **settings}
        values = {"names": list(made), "values": list(made.values())}
        try:
            async with asyncio.timeout(_SETTLED_WITHIN_S):
                cursor = await super().execute(_query("settle"), {**values, "pid": self.info.backend_pid})
                found = await cursor.fetchone()
        except BaseException:
            await self.close()
            raise
        if found is not None and found[0]:
            self.is_pooled = True
            self._of_transactions = values
            # The server that has prepared a statement is not the one that is asked for it.
            self.prepare_threshold = None

    @asynccontextmanager
    async def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """As psycopg's; the outermost one makes the settings where a pooler lies between."""
        is_outermost = self.info.transaction_status is TransactionStatus.IDLE
        async with super().transaction(savepoint_name, force_rollback) as transaction:
            if is_outermost and self._of_transactions is not None:
                await super().execute(_query("settle_transaction"), self._of_transactions)
            yield transaction

    async def execute(self, *args: Any, **kwargs: Any) -> psycopg.AsyncCursor[Any]:
        """As psycopg's; in autocommit mode a statement is a transaction with its settings, too."""
        try:
            # An empty statement only asks whether the server is there.
            if self._of_transactions is None or args == ("",) or not self._is_alone:
                return await super().execute(*args, **kwargs)
            async with self.transaction():
                return await super().execute(*args, **kwargs)
        except psycopg.errors.ReadOnlySqlTransaction as error:
            self.is_read_only = True
            await self.close()
            raise ServerReadOnly from error

    @property
    def _is_alone(self) -> bool:
        return self.autocommit and self.info.transaction_status is TransactionStatus.IDLE


async def connect(
    address: Address, *, name: str, settings: Mapping[str, str] | None = None
) -> SessionConnection:
    """A connection in autocommit mode: one statement is one transaction, without round trips of its own.

    `name` is what the server shows of it; `settings` are the server's. Raises psycopg.Error, TimeoutError.
    """
    defaults = {"connect_timeout": CONNECT_SECONDS, "application_name": name, **NOTICED}
    connection = await SessionConnection.connect(
        address.url, autocommit=True, **unless_named(address.url, defaults)
    )
    await connection.settle(address, settings or {})
    return connection


def unless_named(url: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those of libpq's parameters that the URL does not name: what it names counts."""
    named = conninfo_to_dict(url)
    return {name: value for name, value in parameters.items() if name not in named}
