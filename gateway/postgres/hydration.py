"""What Postgres knows of a cart that Redis lacks: the gateway's only look into the database."""

import asyncio
import time
from collections import OrderedDict
from typing import Final

import msgspec
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from carts.lifetime import Lifetime
from carts.protocol import reached_postgres
from carts.state import State
from gateway.metrics import Metrics
from runtime.clock import clock_us
from store.postgres import carts

log = structlog.get_logger(__name__)

_BATCH: Final = 200
_QUERY_TIMEOUT_MS: Final = 1500

_decoder: Final = msgspec.json.Decoder(State)


class Forgotten(msgspec.Struct, frozen=True):
    """A row so old that its cart may have been deleted: it counts as none (carts.lifetime)."""

    version_number: int


class DatabaseUnavailable(Exception):
    """Postgres did not answer in time: whether there is a row is unknown. A retry can help."""


class Hydration:
    """Reads whole states from the sink's rows; remembers for readers which carts have none."""

    def __init__(
        self,
        postgres_url: str,
        pool_size: int,
        memory_s: float,
        memory_size: int,
        lifetime: Lifetime,
        metrics: Metrics,
    ) -> None:
        self._lifetime = lifetime
        self._memory_s = memory_s
        self._memory_size = memory_size
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._outcomes = metrics.hydrations
        self._queue: list[str] = []
        self._asked: dict[str, asyncio.Future[State | None]] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._pool = AsyncConnectionPool(
            postgres_url,
            min_size=1,
            max_size=pool_size,
            open=False,
            # After Postgres was away all connections are dead; a query serves many, so checking is cheap.
            check=AsyncConnectionPool.check_connection,
            timeout=2.0,
            reconnect_timeout=0.0,
            kwargs={
                "autocommit": True,
                "connect_timeout": 2,
                "options": f"-c statement_timeout={_QUERY_TIMEOUT_MS}",
                "application_name": "cartstream-gateway",
            },
        )

    async def open(self) -> None:
        """Connect in the background: carts that are in Redis are served while Postgres is away."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    async def find(self, cart_id: str) -> State | Forgotten | None:
        """The state in the cart's row, none without a row. Raises DatabaseUnavailable.

        Never from memory: nobody may write on a "none" from before the cart was born.
        """
        self._absent.pop(cart_id, None)
        state = await self._read(cart_id)
        found = self._judge(cart_id, state)
        self._outcomes.labels("row" if isinstance(found, State) else "none").inc()
        return found

    async def recall(self, cart_id: str) -> State | None:
        """As `find`, for readers: that there is no row is remembered for a moment."""
        expires = self._absent.get(cart_id)
        if expires is not None and expires > time.monotonic():
            self._outcomes.labels("remembered").inc()
            return None
        found = await self.find(cart_id)
        if isinstance(found, State):
            return found
        self._remember(cart_id)
        return None

    async def contains(self, cart_id: str, op_id: str, version: int) -> bool:
        """Whether the row has the operation (carts.protocol.reached_postgres). Raises DatabaseUnavailable."""
        return reached_postgres(await self._read(cart_id), op_id, version)

    async def answers(self) -> bool:
        """Whether Postgres answers a query now."""
        try:
            async with self._pool.connection() as connection:
                await connection.execute("SELECT 1")
        except (psycopg.Error, PoolTimeout):
            return False
        return True

    def _judge(self, cart_id: str, state: State | None) -> State | Forgotten | None:
        if state is None:
            return None
        now_us = clock_us()
        if self._lifetime.forgotten(cart_id, state.version_number, now_us, expired=state.expired):
            return Forgotten(state.version_number)
        return state

    async def _read(self, cart_id: str) -> State | None:
        """The state in the row. Requests that come while all connections are busy share the next query."""
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
            try:
                found = await self._query(cart_ids)
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("hydration.failed", carts=len(cart_ids), error=repr(error))
                self._outcomes.labels("failed").inc(len(cart_ids))
                for cart_id in cart_ids:
                    asked = self._asked.pop(cart_id)
                    asked.set_exception(DatabaseUnavailable(str(error)))
                    asked.exception()  # whoever asked may have gone
            else:
                for cart_id in cart_ids:
                    self._asked.pop(cart_id).set_result(found.get(cart_id))

    async def _query(self, cart_ids: list[str]) -> dict[str, State]:
        async with self._pool.connection() as connection:
            found = await carts.states(connection, cart_ids)
        return {cart_id: _decoder.decode(state) for cart_id, state in found}

    def _remember(self, cart_id: str) -> None:
        self._absent[cart_id] = time.monotonic() + self._memory_s
        self._absent.move_to_end(cart_id)
        if len(self._absent) > self._memory_size:
            self._absent.popitem(last=False)
