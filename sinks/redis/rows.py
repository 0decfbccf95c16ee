"""The rows of carts in Postgres, for restorations and warming: one query at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import psycopg
import structlog

from carts.protocol import CartRow
from sinks.errors import RowsUnavailable
from store.postgres import carts, positions
from store.postgres.connection import RenewedConnection
from store.postgres.errors import SchemaOutdated
from store.postgres.positions import Position
from store.redis import Layout

log = structlog.get_logger(__name__)

QUERY_SECONDS: Final = 5
AWAY_SECONDS: Final = 10.0
"""How long nobody asks a Postgres again that did not answer: each lost partition would wait for it."""


class Rows:
    """Reads rows. Each method raises RowsUnavailable if Postgres does not answer or has no such tables."""

    def __init__(self, postgres_url: str, layout: Layout) -> None:
        """Connects when it is first used."""
        self._connection = RenewedConnection(postgres_url, name="cartstream-restore", timeout_s=QUERY_SECONDS)
        self._layout = layout
        self._turn = asyncio.Lock()
        self._away_until = 0.0

    async def position(self, partition: int) -> Position | None:
        """How far the rows of a partition are; None if they were never written."""
        async with self._use() as connection:
            return (await positions.read(connection, [partition])).get(partition)

    async def look_up(self, cart_ids: Iterable[str]) -> dict[str, CartRow]:
        """What there is of each cart, and how far the rows of its partition are, at one moment."""
        async with self._use() as connection:
            return await carts.look_up(
                connection, {cart_id: self._layout.partition(cart_id) for cart_id in cart_ids}
            )

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[psycopg.AsyncConnection]:
        async with self._turn:
            if time.monotonic() < self._away_until:
                raise RowsUnavailable("Postgres did not answer a moment ago")
            try:
                async with self._connection.use() as connection:
                    yield connection
            except (psycopg.Error, SchemaOutdated, TimeoutError, OSError, msgspec.MsgspecError) as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                log.warning("rows.unavailable", error=repr(error))
                raise RowsUnavailable(repr(error)) from error
