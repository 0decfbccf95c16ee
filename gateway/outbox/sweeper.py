"""Publish what stayed in the Redis outboxes: so the promise survives a killed or frozen gateway.

Each gateway sweeps; a lease in Redis gives every partition to one of them. One that cannot publish holds no
lease: it would keep those that can from their work. Entries go out in their order, each within the publish
deadline of being read, stamped with the time of reading, by Redis's clock. Twice is harmless.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

import structlog

from gateway.metrics import Metrics
from gateway.outbox.publisher import ChangePublisher
from gateway.outbox.records import record_of
from runtime.clock import clock_us
from store.redis import CartStore, OutboxDepth, OutboxEntry, OutboxPage, StoreError

log = structlog.get_logger(__name__)

_BATCH: Final = 200
_LEASE_MS: Final = 15_000
"""Longer than one batch can take, so that two sweepers seldom do the same work."""
_LONGEST_REST_S: Final = 8.0
"""Below the publish deadline: one that can publish again does so before live changes are held back."""


_Awaited: TypeAlias = tuple[int, str, str, int]


class Swept(NamedTuple):
    """How many records of a partition were published, and whether Kafka did not take one."""

    published: int
    failed: bool


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
        self._waiting: dict[_Awaited, set[asyncio.Future[int]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._leases: set[int] = set()
        self._rest_s = 0.0
        self._rests_until = 0.0

    def start(self) -> None:
        """Sweep in the background from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop at once, and give the leases back: whatever is left belongs to the next sweeper."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(StoreError):
            await self._give_back(*self._leases)

    async def wait(self, partition: int, entry: OutboxEntry, timeout_s: float) -> int | None:
        """The offset of this entry once this sweeper has published it; None when it does not in time."""
        awaited = _awaited(partition, entry)
        waiting = self._waiting.setdefault(awaited, set())
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting.add(future)
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return None
        finally:
            waiting.discard(future)
            if not waiting:
                self._waiting.pop(awaited, None)

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
        depths = await self._store.known_outbox_depths()
        self._measure(depths)
        if not self._publisher.connected or asyncio.get_running_loop().time() < self._rests_until:
            await self._give_back(*self._leases)
            return
        overdue = [depth.partition for depth in depths if depth.entries and depth.oldest_us >= self._age_us]
        swept = await asyncio.gather(*(self._sweep_partition(partition) for partition in overdue))
        published = sum(each.published for each in swept)
        if published:
            self._rest_s = 0.0
            self._metrics.published_records.labels("sweeper").inc(published)
            log.info("sweeper.published", records=published, partitions=len(overdue))
        elif any(each.failed for each in swept):
            self._rest()

    def _measure(self, depths: Sequence[OutboxDepth]) -> None:
        self._metrics.redis_outbox_entries.set(sum(depth.entries for depth in depths))
        self._metrics.redis_outbox_bytes.set(sum(depth.bytes for depth in depths))
        self._metrics.redis_outbox_oldest_seconds.set(max(depth.oldest_us for depth in depths) / 1e6)
        now_us = clock_us()
        offset_us = max((now_us - depth.now_us for depth in depths), key=abs)
        self._metrics.redis_clock_offset_seconds.set(offset_us / 1e6)

    async def _sweep_partition(self, partition: int) -> Swept:
        """Publish what is due, as far as Kafka takes it."""
        after, total = "0-0", 0
        while self._publisher.connected and await self._take(partition):
            page = await self._store.outbox_page(partition, after, _BATCH, self._age_us)
            published = await self._publish(partition, page)
            total += published
            if published < len(page.entries):
                await self._give_back(partition)
                return Swept(total, failed=True)
            if not page.entries:
                break
            after = page.entries[-1].id
        return Swept(total, failed=False)

    async def _publish(self, partition: int, page: OutboxPage) -> int:
        records = [record_of(entry, read_ms=page.read_us // 1000) for entry in page.entries]
        offsets = await self._publisher.republish(partition, records)
        published = 0
        for entry, offset in zip(page.entries, offsets, strict=True):
            if offset is None:
                continue
            published += 1
            for waiting in self._waiting.get(_awaited(partition, entry), ()):
                if not waiting.done():
                    waiting.set_result(offset)
        return published

    async def _take(self, partition: int) -> bool:
        if not await self._store.acquire_sweeper(partition, self._owner, _LEASE_MS):
            self._leases.discard(partition)
            return False
        self._leases.add(partition)
        return True

    async def _give_back(self, *partitions: int) -> None:
        for partition in partitions:
            await self._store.release_sweeper(partition, self._owner)
            self._leases.discard(partition)

    def _rest(self) -> None:
        """Try again later, and later each time: the leases are free meanwhile."""
        self._rest_s = min(2 * self._rest_s or 1.0, _LONGEST_REST_S)
        self._rests_until = asyncio.get_running_loop().time() + self._rest_s
        log.warning("sweeper.rests", seconds=self._rest_s)


def _awaited(partition: int, entry: OutboxEntry) -> _Awaited:
    """What an entry is known by: after a rollback its id may be another operation's."""
    return partition, entry.id, entry.op_id, entry.version
