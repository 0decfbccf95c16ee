"""Restores a lost partition of Redis: the newest states of `carts`, and changes not folded yet.

In this order, so that no acknowledged change can slip through between the steps:

1. a token in Redis, which every batch checks: a Redis that is lost or rolled back meanwhile is noticed;
2. C = compaction's committed offset in `cart-changed`, then E = its end, then X = the end of `carts`;
3. the changes C..E are read; `carts` is read to X and put, the newest state of each cart;
4. the carts of those changes are folded onto their states and put: compaction may be down or behind;
5. the marker and the follow position X are set, if the token still stands.

A change after E is folded by compaction after X, where the agent follows from.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, Self

import structlog
from aiokafka import TopicPartition

from carts.lifetime import Lifetime
from carts.state import State
from runtime.clock import clock_us
from runtime.kafka.ranges import OffsetRange, ReaderPool, Record
from runtime.settings import KafkaSettings
from sinks.errors import RestoreStartsOver
from sinks.redis import metrics
from sinks.redis.copies import Found, copies, keep, refold
from sinks.redis.progress import Progress
from sinks.redis.readable_carts import understand_cart
from store.redis import CartStore, Layout, PutOutcome, PutResult, RestoreLost
from topics.groups import COMPACTION
from topics.purge_floors import read_purge_floors
from topics.records import PurgeFloor
from topics.registry import CART_CHANGED, CARTS

log = structlog.get_logger(__name__)

BATCH: Final = 200
IN_FLIGHT: Final = 3
"""Batches in flight at once: the next one is read and packed while Redis works."""


class Restorer:
    """Restores partitions, several at once if asked to."""

    def __init__(self, store: CartStore, layout: Layout, kafka: KafkaSettings, lifetime: Lifetime) -> None:
        """`lifetime` says which carts are idle: those are not restored."""
        self._store = store
        self._layout = layout
        self._readers = ReaderPool(kafka, group=COMPACTION)
        self._lifetime = lifetime
        self.running: dict[int, Progress] = {}
        """Restores in progress, by partition."""

    async def restore(self, partition: int) -> None:
        """Restore a partition; it is ready afterwards.

        Raises RestoreStartsOver if Redis was lost or rolled back meanwhile, ReadStalled, StoreError,
        KafkaError: in each case nothing is ready that is not complete, and a new attempt is safe.
        """
        progress = self.running[partition] = Progress(partition)
        metrics.RESTORING.labels(partition).set(1)
        try:
            position = await self._restore(partition, progress)
        except BaseException:
            metrics.RESTORES.labels("abandoned").inc()
            raise
        finally:
            metrics.RESTORING.labels(partition).set(0)
            del self.running[partition]
        report = progress.report()
        metrics.RESTORES.labels("complete").inc()
        metrics.RESTORE_SECONDS.labels(partition).set(report.seconds)
        log.info(
            "restore.complete",
            partition=partition,
            carts=report.carts,
            seconds=report.seconds,
            carts_per_s=report.carts_per_s,
            follow_from=position,
        )

    async def _restore(self, partition: int, progress: Progress) -> int:
        changed, carts = TopicPartition(CART_CHANGED.name, partition), TopicPartition(CARTS.name, partition)
        async with RestoreBatches(self._store, partition, await self._store.restore_begin(partition)) as puts:
            async with self._readers.borrow() as reader:
                committed = await reader.committed(changed)
                first_change, last_change = await reader.bounds(changed)
                first, end = await reader.bounds(carts)
                start = max(first_change, committed or 0)
                progress.total = max(0, last_change - start) + end - first
                log.info(
                    "restore.begun", partition=partition, records=end - first, changes=last_change - start
                )

                later_changes: dict[str, list[bytes | None]] = {}
                async for records in reader.read({changed: OffsetRange(start, last_change)}):
                    for record in records:
                        cart_id = (record.key or b"").decode(errors="replace")
                        later_changes.setdefault(cart_id, []).append(record.value)
                    progress.done += len(records)

                scan = Scan(self._layout, later_changes, self._lifetime, clock_us())
                async for records in reader.read({carts: OffsetRange(first, end)}):
                    await puts.put(scan.take(records))
                    progress.done = last_change - start + records[-1].offset + 1 - first
                    progress.carts = puts.stored
                scan.raise_purge_floor((await read_purge_floors(reader, [partition]))[partition])
            for states in scan.folded():
                await puts.put(states)
            await puts.finish(end)
            progress.done, progress.carts = progress.total, puts.stored
        return end


class Scan:
    """Sorts the records of `carts`: states to put at once, and states to fold later changes onto."""

    def __init__(
        self, layout: Layout, later_changes: dict[str, list[bytes | None]], lifetime: Lifetime, now_us: int
    ) -> None:
        """`later_changes`: changes after the committed offset, by cart id. Idle carts are left out."""
        self._layout = layout
        self._later_changes = later_changes
        self._lifetime = lifetime
        self._now_us = now_us
        self._bases: dict[str, Found] = {}
        self._purge_floor = 0

    def take(self, records: list[Record]) -> list[tuple[str, State]]:
        """The states to put now, one per cart."""
        kept: dict[str, Found] = {}
        for record in records:
            understood = understand_cart(record, self._layout.partitions)
            if isinstance(understood, PurgeFloor):
                self.raise_purge_floor(understood.purge_floor)
            elif understood is not None:
                cart_id, found = understood
                if cart_id in self._later_changes:
                    keep(self._bases, cart_id, found)
                elif not (
                    isinstance(found, State)
                    and self._lifetime.idle(cart_id, found.version_number, self._now_us)
                ):
                    keep(kept, cart_id, found)
        return copies(kept)

    def raise_purge_floor(self, floor: int) -> None:
        """Nothing at or below it comes back. Read it after `carts`: it was written before the deletions."""
        self._purge_floor = max(self._purge_floor, floor)

    def folded(self) -> Iterator[list[tuple[str, State]]]:
        """The states of the carts with later changes, those changes folded in, in batches."""
        waiting = iter(self._later_changes.items())
        while some := list(islice(waiting, BATCH)):
            states = (
                (cart_id, refold(self._bases.get(cart_id), cart_id, changes, self._purge_floor))
                for cart_id, changes in some
            )
            yield [(cart_id, state) for cart_id, state in states if state is not None]


class RestoreBatches:
    """The batches of one restore: numbered, several in flight at once, every result checked."""

    def __init__(self, store: CartStore, partition: int, token: str) -> None:
        self._store = store
        self._partition = partition
        self._token = token
        self._sequence = 0
        self._under_way: deque[asyncio.Task[list[PutResult] | RestoreLost]] = deque()
        self.stored = 0
        """Carts put that Redis did not have."""

    async def put(self, states: list[tuple[str, State]]) -> None:
        """Send a batch; waits while too many are in flight."""
        if states:
            batch = self._store.restore_put(self._partition, self._token, self._sequence, states)
            self._under_way.append(asyncio.create_task(batch))
            self._sequence += 1
        while len(self._under_way) > IN_FLIGHT:
            await self._settle()

    async def finish(self, followed: int) -> None:
        """Set the ready marker after the last batch. Raises RestoreStartsOver."""
        while self._under_way:
            await self._settle()
        if (
            await self._store.restore_finish(self._partition, self._token, self._sequence, followed)
            is not None
        ):
            raise RestoreStartsOver

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for batch in self._under_way:
            batch.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _settle(self) -> None:
        results = await self._under_way.popleft()
        if isinstance(results, RestoreLost):
            raise RestoreStartsOver
        stored = sum(result.outcome is PutOutcome.STORED for result in results)
        self.stored += stored
        metrics.RESTORED.inc(stored)
        if uncovered := [result.cart_id for result in results if result.outcome is PutOutcome.UNCOVERED]:
            # Redis has operations that are still in the outbox or on their way to compaction.
            log.info("restore.uncovered", partition=self._partition, carts=len(uncovered), one=uncovered[0])
