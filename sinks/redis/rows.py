"""The rows of carts in Postgres, for restorations and warming: one query at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec
import psycopg
import stamina
import structlog

from carts.protocol import CartRow
from sinks.errors import RowsUnavailable, RowUnreadable
from sinks.redis import metrics
from store.postgres import carts, positions
from store.postgres.connection import RenewedConnection
from store.postgres.errors import SchemaOutdated
from store.postgres.positions import Position
from store.postgres.session import Address
from store.redis import Layout

T = TypeVar("T")

log = structlog.get_logger(__name__)

QUERY_SECONDS: Final = 5
AGAIN_SECONDS: Final = 2.0
"""For so long a question is asked again."""
AWAY_SECONDS: Final = 10.0
"""How long nobody asks a Postgres again that did not answer: each lost partition would wait for it."""


class Rows:
    """Reads rows. Each method raises RowsUnavailable if Postgres does not answer or has no such tables."""

    def __init__(self, address: Address, layout: Layout) -> None:
        """Connects when it is first used."""
        self._connection = RenewedConnection(address, name="cartstream-redis", timeout_s=QUERY_SECONDS)
        self._layout = layout
        self._turn = asyncio.Lock()
        self._away_until = 0.0

    async def position(self, partition: int) -> Position | None:
        """How far the rows of a partition are; None if they were never written."""
        found = await self._ask(partial(positions.read, partitions=[partition]))
        return found.get(partition)

    async def look_up(self, cart_ids: Sequence[str]) -> dict[str, CartRow]:
        """What there is of each cart, and how far the rows of its partition are, at one moment.

        Raises RowUnreadable.
        """
        found = await self.look_up_readable(cart_ids)
        if any(cart_id not in found for cart_id in cart_ids):
            raise RowUnreadable
        return found

    async def look_up_readable(self, cart_ids: Iterable[str]) -> dict[str, CartRow]:
        """The same of those carts whose rows can be read; the others are counted and logged."""
        places = {cart_id: self._layout.partition(cart_id) for cart_id in cart_ids}
        return await self._ask(partial(carts.look_up, partitions=places, unreadable=_unreadable))

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()

    async def _ask(self, question: Callable[[psycopg.AsyncConnection], Awaitable[T]]) -> T:
        async with self._turn:
            if time.monotonic() < self._away_until:
                raise RowsUnavailable("Postgres did not answer a moment ago")
            try:
                # A connection that the server has closed fails the first question, and a restart the next.
                async for attempt in stamina.retry_context(
                    on=psycopg.OperationalError, attempts=None, timeout=AGAIN_SECONDS, wait_max=0.5
                ):
                    with attempt:
                        async with self._connection.use() as connection:
                            return await question(connection)
            except (psycopg.Error, SchemaOutdated, TimeoutError, OSError) as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                log.warning("rows.unavailable", error=repr(error))
                raise RowsUnavailable(repr(error)) from error
        raise RowsUnavailable("nobody has asked")  # the attempts end with an answer or an error


def _unreadable(cart_id: str, error: msgspec.MsgspecError) -> None:
    metrics.UNREADABLE_ROWS.inc()
    log.error("rows.unreadable", cart_id=cart_id, error=str(error))
