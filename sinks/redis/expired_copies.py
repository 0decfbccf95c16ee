"""Lets the copies of expired carts leave Redis, once their rows say the same.

An expired cart is put into Redis like any other, for a row that is behind would be taken for the cart if it
were just absent. When the rows are past its expiry, and no look into an older row can still be under way, its
absence says the same, and its memory is wanted (carts.protocol.expired_copy_may_go). From then on rows count
only if they are as far as that: Postgres may go back to a time when the cart was alive.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from carts.protocol import Marker
from sinks.errors import RowsUnavailable
from sinks.redis import metrics
from sinks.redis.rows import Rows
from store.redis import CartStore, StoreError

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 15.0
BATCH: Final = 500


class ExpiredCopies:
    """Looks through the partitions that an agent follows. `run` it until cancelled."""

    def __init__(self, store: CartStore, rows: Rows, followed: Callable[[], Iterable[int]]) -> None:
        """`followed` are the agent's partitions."""
        self._store = store
        self._rows = rows
        self._followed = followed

    async def run(self) -> None:
        """Look until cancelled. While Redis or Postgres do not answer, copies stay."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except (StoreError, RowsUnavailable) as error:
                log.info("expired_copies.wait", error=repr(error))

    async def look(self) -> None:
        """Let those go that may. Raises StoreError, RowsUnavailable."""
        markers = await self._store.known_markers()
        for partition in self._followed():
            if (marker := markers.get(partition)) is not None:
                await self._look(partition, marker)

    async def _look(self, partition: int, marker: Marker) -> None:
        rows = await self._rows.position(partition)
        if rows is None or rows.topic_id != marker.topic_id:
            return
        ids = await self._store.expired_copies(partition, rows.position, BATCH)
        dropped = await asyncio.gather(
            *(self._store.drop_expired(cart_id, rows.position, marker.restoration) for cart_id in ids)
        )
        metrics.EXPIRED_DROPPED.inc(sum(dropped))
