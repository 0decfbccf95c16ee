"""Remove published entries from the Redis outboxes, in batches, after the replies."""

import asyncio
from typing import Final

import structlog

from gateway.metrics import Metrics
from store.redis import CartStore, StoreError

log = structlog.get_logger(__name__)

_PAUSE_S: Final = 0.2
"""Long enough to gather a batch, short against the age at which the sweeper publishes an entry again.

A batch of a partition costs Redis and us more than the entries in it.
"""


class OutboxTrimmer:
    """Collects what Kafka has acknowledged. What is lost here is published again, which does no harm."""

    def __init__(self, store: CartStore, partitions: int, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._entries: list[list[tuple[str, str]]] = [[] for _ in range(partitions)]
        self._task: asyncio.Task[None] | None = None

    def add(self, partition: int, outbox_id: str, op_id: str) -> None:
        """Remove this entry soon."""
        self._entries[partition].append((outbox_id, op_id))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._trim_soon())

    async def flush(self) -> None:
        """Remove everything collected so far."""
        if self._task is not None:
            await self._task
        await self._trim()

    async def _trim_soon(self) -> None:
        await asyncio.sleep(_PAUSE_S)
        self._task = None
        await self._trim()

    async def _trim(self) -> None:
        batches = [(partition, entries) for partition, entries in enumerate(self._entries) if entries]
        for partition, _ in batches:
            self._entries[partition] = []
        await asyncio.gather(*(self._trim_partition(partition, entries) for partition, entries in batches))

    async def _trim_partition(self, partition: int, entries: list[tuple[str, str]]) -> None:
        try:
            await self._store.outbox_remove(partition, entries)
        except StoreError as error:
            self._metrics.redis_outbox_trim_failures.inc()
            log.warning("outbox.trim_failed", partition=partition, entries=len(entries), error=repr(error))
