"""Keep the Redis outboxes below their share of Redis's memory: carts must fit beside what waits for Kafka."""

import asyncio
from typing import Final

import structlog

from store.redis import CartStore, StoreError

log = structlog.get_logger(__name__)

_LOOK_S: Final = 10.0
"""How often: `maxmemory` changes by hand or with a failover."""


def bound_of(max_bytes: int, max_share: float, maxmemory: int, partitions: int) -> int:
    """Bytes that one partition's outbox may take; `maxmemory` 0 is no bound of the server's."""
    return min(max_bytes, int(max_share * maxmemory / partitions)) if maxmemory else max_bytes


class OutboxBound:
    """Tells the store the bound, at the start and whenever it changes."""

    def __init__(self, store: CartStore, max_bytes: int, max_share: float, partitions: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._max_share = max_share
        self._partitions = partitions
        self._current = max_bytes
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Set it now if Redis answers, and look again from time to time."""
        await self._look()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        try:
            facts = await self._store.facts()
        except StoreError as error:
            log.warning("outbox.bound_unknown", error=repr(error))
            return
        bound = bound_of(self._max_bytes, self._max_share, facts.maxmemory, self._partitions)
        if bound != self._current:
            self._current = bound
            self._store.bound_outbox(bound)
            log.info("outbox.bounded", bytes_per_partition=bound, maxmemory=facts.maxmemory)
