"""Carts and database as the merge agent needs them: it waits for rows, and leaves publishing to gateways."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from carts.lifetime import Lifetime
from carts.protocol import CartRow
from carts.state import State, uncovered
from merges.saga import FoundCart, MergeWaits
from runtime.clock import clock_us
from store.postgres import carts
from store.postgres.pool import CheckedPool, Connection
from store.postgres.session import Address
from store.redis import Applied, CartStore, Layout, Missing, Replayed, Restoring

T = TypeVar("T")

POLL_S: Final = 0.1
_STATEMENT_S: Final = 10
_WITHIN_S: Final = 3 * _STATEMENT_S
"""A transaction, with the wait for a connection: a server that does not answer at all is given up."""


class AgentDatabase:
    """Transactions over a small pool that connects when it is first used."""

    def __init__(self, address: Address, connections: int) -> None:
        self._pool = CheckedPool(
            address,
            name="cartstream-merges",
            min_size=1,
            max_size=connections,
            wait_s=_STATEMENT_S,
            statement_ms=1000 * _STATEMENT_S,
        )

    async def open(self) -> None:
        """Connect in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` returns, in one transaction. Raises psycopg.Error, PoolTimeout, TimeoutError."""
        async with (
            asyncio.timeout(_WITHIN_S),
            self._pool.connection() as connection,
            connection.transaction(),
        ):
            return await work(connection)


class AgentRows:
    """The rows of carts, for a cart that Redis lacks (store.redis.RowLookup)."""

    def __init__(self, database: AgentDatabase, layout: Layout) -> None:
        self._database: Final = database
        self._layout: Final = layout

    async def look_up(self, cart_id: str) -> CartRow:
        """The row as it is. Raises psycopg.Error, PoolTimeout."""

        async def work(connection: Connection) -> dict[str, CartRow]:
            return await carts.look_up(connection, {cart_id: self._layout.partition(cart_id)})

        return (await self._database.transact(work))[cart_id]


class AwaitedCarts:
    """Waits until a cart's row has what Redis's copy has; the sweepers of the gateways publish it."""

    def __init__(self, store: CartStore, rows: AgentRows, lifetime: Lifetime) -> None:
        self._store: Final = store
        self._rows: Final = rows
        self._lifetime: Final = lifetime

    async def deliver(self, cart_id: str, but: frozenset[str]) -> FoundCart:
        """See merges.saga.Carts. Raises MergeWaits while Redis is being restored."""
        window = await self._store.window(cart_id)
        if isinstance(window, Restoring):
            await self._store.request_restore(self._store.partition(cart_id))
            raise MergeWaits("restoring")
        if isinstance(window, Missing):
            return await self._complete(cart_id, window)
        expected = [(entry.version, entry.op_id) for entry in window if entry.op_id not in but]
        while True:
            found = await self.row(cart_id)
            if not uncovered(found.state or State(), expected):
                return found
            await asyncio.sleep(POLL_S)

    async def _complete(self, cart_id: str, missing: Missing) -> FoundCart:
        """The row of a cart that Redis lacks, once the rows are as far as those Redis was restored on."""
        while True:
            row = await self._rows.look_up(cart_id)
            if missing.is_met_by(row):
                return self._found(cart_id, row)
            await asyncio.sleep(POLL_S)

    async def row(self, cart_id: str) -> FoundCart:
        """See merges.saga.Carts. Raises psycopg.Error."""
        return self._found(cart_id, await self._rows.look_up(cart_id))

    def _found(self, cart_id: str, row: CartRow) -> FoundCart:
        state = row.state
        if state is None:
            return FoundCart(None)
        if self._lifetime.forgotten(cart_id, state.version_number, clock_us(), expired=state.expired):
            return FoundCart(None, state.version_number)
        return FoundCart(state)

    async def publish(self, outcome: Applied | Replayed) -> None:
        """Leave it to the sweepers: they keep the order of the outbox."""
