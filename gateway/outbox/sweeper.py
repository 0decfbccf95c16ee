"""Publish what stayed in the Redis outboxes: so the promise survives a killed or frozen gateway.

Each gateway sweeps; a lease in Redis gives every partition to one of them. Entries go out in their order,
each within the publish deadline of being read, stamped with the time of reading. Twice is harmless.
"""

import asyncio
import time
from typing import Final

import structlog

from gateway.metrics import Metrics
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.records import record_of
from store.redis import CartStore, OutboxEntry, StoreError

log = structlog.get_logger(__name__)

_BATCH: Final = 200
_LEASE_MS: Final = 15_000
"""Longer than one batch can take, so that two sweepers seldom do the same work."""


class Sweeper:
    """Sweeps the partitions whose lease it holds, and wakes requests that wait for their entry."""

    def __init__(
        self,
        store: CartStore,
        publisher: ChangePublisher,
        metrics: Metrics,
        *,
        owner: str,
        interval_s: float,
        age_s: float,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._metrics = metrics
        self._owner = owner
        self._interval_s = interval_s
        self._age_us = int(age_s * 1_000_000)
        self._waiting: dict[tuple[int, str], asyncio.Future[int]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sweep in the background from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop at once: whatever is left belongs to the next sweeper."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self, partition: int, outbox_id: str, timeout_s: float) -> int | None:
        """The offset of this entry once this sweeper has published it; None when it does not in time."""
        key = (partition, outbox_id)
        future = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(asyncio.shield(future), timeout_s)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(key, None)

    async def _run(self) -> None:
        is_failing = False
        while True:
            try:
                await self._sweep()
                is_failing = False
            except StoreError as error:
                if not is_failing:
                    is_failing = True
                    log.warning("sweeper.store_failed", error=repr(error))
            except Exception:
                # A sweeper that ends would break the promise: log it, and go on.
                log.exception("sweeper.failed")
            await asyncio.sleep(self._interval_s)

    async def _sweep(self) -> None:
        depths = await self._store.outbox_depths()
        self._metrics.redis_outbox_entries.set(sum(depth.entries for depth in depths))
        overdue = [depth.partition for depth in depths if depth.entries and depth.oldest_us >= self._age_us]
        published = sum(await asyncio.gather(*(self._sweep_partition(partition) for partition in overdue)))
        if published:
            self._metrics.published_records.labels("sweeper").inc(published)
            log.info("sweeper.published", records=published, partitions=len(overdue))

    async def _sweep_partition(self, partition: int) -> int:
        """Publish what is due; how many records that were."""
        after, total = "0-0", 0
        while await self._store.acquire_sweeper(partition, self._owner, _LEASE_MS):
            entries = await self._store.outbox_read(partition, after, _BATCH, self._age_us)
            published = await self._publish(partition, entries) if entries else 0
            total += published
            if not entries or published < len(entries):
                break
            after = entries[-1].id
        return total

    async def _publish(self, partition: int, entries: list[OutboxEntry]) -> int:
        read_ms = time.time_ns() // 1_000_000
        records = [record_of(entry, read_ms=read_ms) for entry in entries]
        offsets = await self._publisher.republish(partition, records)
        published = 0
        for entry, offset in zip(entries, offsets, strict=True):
            if offset is None:
                continue
            published += 1
            waiting = self._waiting.get((partition, entry.id))
            if waiting is not None and not waiting.done():
                waiting.set_result(offset)
        return published
