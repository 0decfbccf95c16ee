"""What Postgres knows of a cart that Redis lacks: the gateway's only look into the database."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from carts.lifetime import Lifetime
from carts.protocol import CartRow, Marker, absence_remembered, reached_postgres
from carts.state import State
from gateway.metrics import Metrics
from runtime.clock import clock_us
from store.postgres import carts
from store.postgres.migrate import pending
from store.postgres.pool import CheckedPool
from store.postgres.session import Address
from store.redis import Absence, Missing

log = structlog.get_logger(__name__)

_BATCH: Final = 200
_QUERY_TIMEOUT_MS: Final = 1500
_FRESH_S: Final = 1.0
"""While carts are born, looking at a connection would cost half as much as the query."""


class Forgotten(msgspec.Struct, frozen=True):
    """A row so old that its cart may have been deleted: it counts as none (carts.lifetime)."""

    version_number: int


class Found(msgspec.Struct, frozen=True):
    """What the row of a cart said that Redis lacks; `counts`: it may stand for the cart, as far as known.

    A row that does not count is older than what Redis was restored on: look again.
    """

    state: State | Forgotten | None
    absence: Absence
    counts: bool


class DatabaseUnavailable(Exception):
    """Postgres did not answer in time: whether there is a row is unknown. A retry can help."""


class Hydration:
    """Reads whole states from the sink's rows; remembers for readers which carts have none."""

    def __init__(
        self,
        address: Address,
        pool_size: int,
        memory_s: float,
        memory_size: int,
        lifetime: Lifetime,
        partition_of: Callable[[str], int],
        metrics: Metrics,
    ) -> None:
        self._lifetime = lifetime
        self._partition_of = partition_of
        self._memory_s = memory_s
        self._memory_size = memory_size
        self._absent: OrderedDict[str, tuple[float, Marker]] = OrderedDict()
        self._outcomes = metrics.hydrations
        self._queue: list[str] = []
        self._asked: dict[str, asyncio.Future[CartRow]] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._pool = CheckedPool(
            address,
            name="cartstream-gateway",
            min_size=1,
            max_size=pool_size,
            wait_s=2.0,
            statement_ms=_QUERY_TIMEOUT_MS,
            fresh_s=_FRESH_S,
        )

    async def open(self) -> None:
        """Connect in the background: carts that are in Redis are served while Postgres is away."""
        await self._pool.open(wait=False)

    async def until_connected(self, timeout_s: float) -> None:
        """Wait for the first connections, but no longer than this: requests wait for the missing ones."""
        await self._pool.until_filled(timeout_s)

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    async def find(self, cart_id: str) -> State | Forgotten | None:
        """The state in the cart's row, none without a row. Raises DatabaseUnavailable.

        Never from memory: nobody may write on a "none" from before the cart was born.
        """
        return self._judge(cart_id, await self._row(cart_id))

    async def find_missing(self, cart_id: str, missing: Missing) -> Found:
        """As `find`, for a cart that Redis has been found to lack before."""
        row = await self._row(cart_id)
        return Found(self._judge(cart_id, row), missing.found(row), missing.is_met_by(row))

    def remembers_absence(self, cart_id: str, missing: Missing) -> bool:
        """Whether a reader need not look: there was no row a moment ago."""
        remembered = self._absent.get(cart_id)
        if remembered is None:
            return False
        expires, marker = remembered
        if expires <= time.monotonic() or not absence_remembered(missing.marker, marker):
            return False
        self._outcomes.labels("remembered").inc()
        return True

    def remember_absence(self, cart_id: str, missing: Missing) -> None:
        """Note that there is no row, found after this and still to count."""
        self._absent[cart_id] = time.monotonic() + self._memory_s, missing.marker
        self._absent.move_to_end(cart_id)
        if len(self._absent) > self._memory_size:
            self._absent.popitem(last=False)

    async def look_up(self, cart_id: str) -> CartRow | None:
        """See store.redis.RowLookup: the row as it is, None when Postgres does not answer."""
        try:
            return await self._row(cart_id)
        except DatabaseUnavailable:
            return None

    async def contains(self, cart_id: str, op_id: str, version: int) -> bool:
        """Whether the row has the operation (carts.protocol.reached_postgres). Raises DatabaseUnavailable."""
        return reached_postgres((await self._ask(cart_id)).state, op_id, version)

    async def pending_migrations(self) -> list[str]:
        """The migrations that the database lacks. Raises DatabaseUnavailable if it does not answer now."""
        try:
            return await self._pool.read(pending)
        except (psycopg.Error, PoolTimeout) as error:
            raise DatabaseUnavailable(str(error)) from error

    async def _row(self, cart_id: str) -> CartRow:
        self._absent.pop(cart_id, None)
        row = await self._ask(cart_id)
        self._outcomes.labels("none" if row.state is None else "row").inc()
        return row

    def _judge(self, cart_id: str, row: CartRow) -> State | Forgotten | None:
        state = row.state
        if state is None:
            return None
        now_us = clock_us()
        if self._lifetime.forgotten(cart_id, state.version_number, now_us, expired=state.expired):
            return Forgotten(state.version_number)
        return state

    async def _ask(self, cart_id: str) -> CartRow:
        """The row as it is at some moment from now on.

        Requests of one turn of the loop, and those that come while all connections are busy, share a query.
        """
        asked = self._asked.get(cart_id)
        if asked is None:
            asked = self._asked[cart_id] = asyncio.get_running_loop().create_future()
            self._queue.append(cart_id)
            if len(self._readers) < self._pool.max_size:
                reader = asyncio.get_running_loop().create_task(self._read_queue())
                self._readers.add(reader)
                reader.add_done_callback(self._readers.discard)
        # Shielded: the answer is for everybody who has asked meanwhile.
        return await asyncio.shield(asked)

    async def _read_queue(self) -> None:
        while self._queue:
            cart_ids, self._queue = self._queue[:_BATCH], self._queue[_BATCH:]
            # Whoever asks from now on gets the next query: a row must not be from before its miss.
            await self._answer({cart_id: self._asked.pop(cart_id) for cart_id in cart_ids})

    async def _answer(self, asked: dict[str, asyncio.Future[CartRow]]) -> None:
        """Tell everybody who has asked, whatever becomes of the query."""
        try:
            found = await self._query(list(asked))
        except Exception as error:  # noqa: BLE001
            if isinstance(error, msgspec.MsgspecError) and len(asked) > 1:
                # One row of them cannot be read.
                for cart_id, each in asked.items():
                    await self._answer({cart_id: each})
                return
            log.warning("hydration.failed", carts=len(asked), one=next(iter(asked)), error=repr(error))
            self._outcomes.labels("failed").inc(len(asked))
            for each in asked.values():
                each.set_exception(DatabaseUnavailable(str(error)))
                each.exception()  # whoever asked may have gone
        else:
            for cart_id, each in asked.items():
                each.set_result(found[cart_id])

    async def _query(self, cart_ids: list[str]) -> dict[str, CartRow]:
        partitions = {cart_id: self._partition_of(cart_id) for cart_id in cart_ids}
        return await self._pool.read(partial(carts.look_up, partitions=partitions))
