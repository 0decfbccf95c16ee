"""Restores a lost partition of Redis, so far that it can be used: the rows in Postgres have the rest.

In this order, so that no acknowledged change can slip through between the steps:

1. a token in Redis, which every batch checks: a Redis that is lost or rolled back meanwhile is noticed;
2. S = how far the rows are in `carts`; C = compaction's committed offset in `cart-changed`, E = its end, then
   X = the end of `carts`; and where the tail begins: at S, or before it if this Redis has less than the rows;
3. the changes C..E are read, and the tail of `carts`, to X; of each cart the higher of its newest record and
   its row is put;
4. the carts of those changes are folded onto that and put: compaction may be down or behind;
5. the marker (with S) and the follow position X are set, if the token still stands.

A change after E is folded by compaction after X, where the agent follows from. A cart that is not in the tail
is complete in its row: it is brought in when somebody asks for it, or by warming (sinks.redis.warming).

Without Postgres, or if its rows are of another topic, or one that is needed cannot be read, all of `carts` is
read and put instead of the tail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import structlog
from aiokafka import TopicPartition

from carts.lifetime import Lifetime
from carts.protocol import restoration_base, rows_stand_at, tail_start
from carts.state import State
from runtime.clock import clock_us
from runtime.kafka.ranges import OffsetRange, RangeReader, ReaderPool, Record
from runtime.settings import KafkaSettings
from sinks.errors import GenerationClosed, RestoreStartsOver, RowsUnavailable, RowUnreadable
from sinks.redis import metrics
from sinks.redis.batches import BATCH, RestoreBatches
from sinks.redis.copies import Found, keep, refold
from sinks.redis.progress import Progress
from sinks.redis.readable_carts import understand_cart
from sinks.redis.rows import Rows
from store.postgres.positions import Position
from store.redis import CartStore, Layout
from topics.groups import COMPACTION
from topics.plan import CLOSED, CLOSED_SETTING
from topics.purge_floors import read_purge_floors
from topics.records import PurgeFloor
from topics.registry import CART_CHANGED, CARTS

log = structlog.get_logger(__name__)

TAIL_BATCH: Final = 1000
"""Records of a tail read at once: the rows of their carts are one query."""


class Restorer:
    """Restores partitions, several at once if asked to."""

    def __init__(
        self,
        store: CartStore,
        layout: Layout,
        kafka: KafkaSettings,
        lifetime: Lifetime,
        rows: Rows | None = None,
        *,
        readers: int = 0,
    ) -> None:
        """`lifetime` says which carts are idle: those are not restored. Without `rows` all carts are read.

        `readers` of Kafka stay connected, until `close`: a lost partition then waits for no connection.
        """
        self._store = store
        self._layout = layout
        self._readers = ReaderPool(kafka, group=COMPACTION, keep=readers)
        self._lifetime = lifetime
        self._rows = rows
        self.running: dict[int, Progress] = {}
        """Restores in progress, by partition."""

    async def restore(self, partition: int, *, whole: bool = False) -> None:
        """Restore a partition, from the tail or `whole`; it is ready afterwards.

        Where a row is needed that cannot be read, it begins again with the whole.

        Raises RestoreStartsOver if Redis was lost or rolled back meanwhile, or the rows went back;
        GenerationClosed if carts have moved to other partitions; ReadStalled, RowsUnavailable, StoreError,
        KafkaError: in each case nothing is ready that is not complete, and a new attempt is safe.
        """
        progress = self.running[partition] = Progress(partition)
        metrics.RESTORING.labels(partition).set(1)
        try:
            try:
                run = await self._restore(partition, progress, whole=whole)
            except RowUnreadable:
                log.warning("restore.begins_again", partition=partition, meaning="a row cannot be read")
                progress.done = progress.carts = 0
                run = await self._restore(partition, progress, whole=True)
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
            rows_position=None if run.rows is None else run.rows.position,
            follow_from=run.carts.end,
        )

    async def close(self) -> None:
        """Disconnect from Kafka."""
        await self._readers.close()

    async def _restore(self, partition: int, progress: Progress, *, whole: bool) -> Extent:
        token = await self._store.restore_begin(partition)
        async with RestoreBatches(self._store, partition, token) as puts:
            async with self._readers.borrow() as reader:
                if await reader.setting(CART_CHANGED.name, CLOSED_SETTING) == CLOSED:
                    # Redis has lost that it was closed. This is asked after the token was written, so nobody
                    # who has found the partition closed after the topic was is wrong by now.
                    raise GenerationClosed
                extent = await self._extent(partition, reader, puts, whole=whole)
                progress.total = extent.changes.size + extent.carts.size
                log.info(
                    "restore.begun",
                    partition=partition,
                    records=extent.carts.size,
                    changes=extent.changes.size,
                    whole=extent.rows is None,
                )
                later_changes = await self._later_changes(reader, extent, progress)
                scan = Scan(self._layout, later_changes)
                batch = BATCH if extent.rows is None else TAIL_BATCH
                async for records in reader.read({extent.carts_place: extent.carts}, batch=batch):
                    await puts.put(await self._states(scan.take(records), extent))
                    progress.done = extent.changes.size + records[-1].offset + 1 - extent.carts.start
                    progress.carts = puts.stored
                if later_changes:
                    floors = await read_purge_floors(reader, [partition])
                    scan.raise_purge_floor(floors[partition])
            for some in scan.changed_carts():
                rows = await self._rows_of(some, extent)
                await puts.put(scan.folded(some, rows))
            await puts.finish(extent.carts.end, extent.rows, extent.topic_id)
            progress.done, progress.carts = progress.total, puts.stored
        return extent

    async def _extent(
        self, partition: int, reader: RangeReader, puts: RestoreBatches, *, whole: bool
    ) -> Extent:
        """What is to be read. The order of the questions matters: see above."""
        topic_id = await reader.topic_id(CARTS.name)
        rows = None if whole else await self._position(partition, topic_id)
        changed, carts = TopicPartition(CART_CHANGED.name, partition), TopicPartition(CARTS.name, partition)
        committed = await reader.committed(changed)
        first_change, last_change = await reader.bounds(changed)
        first, end = await reader.bounds(carts)
        if rows is not None and tail_start(rows.position, None, end) is None:
            rows = None
        since = await puts.begin(0 if rows is None else rows.position, end)
        start = tail_start(None if rows is None else rows.position, since, end)
        return Extent(
            changes_place=changed,
            changes=OffsetRange(max(first_change, committed or 0), last_change),
            carts_place=carts,
            carts=OffsetRange(first if start is None else max(first, start), end),
            rows=rows,
            topic_id=topic_id,
        )

    async def _position(self, partition: int, topic_id: str) -> Position | None:
        """How far the rows are in this very topic; None if that cannot be known."""
        if self._rows is None:
            return None
        try:
            position = await self._rows.position(partition)
        except RowsUnavailable:
            return None
        return position if position is not None and position.topic_id == topic_id else None

    @staticmethod
    async def _later_changes(
        reader: RangeReader, extent: Extent, progress: Progress
    ) -> dict[str, list[bytes | None]]:
        """The changes that compaction may not have folded yet, by cart id."""
        later_changes: dict[str, list[bytes | None]] = {}
        async for records in reader.read({extent.changes_place: extent.changes}):
            for record in records:
                cart_id = (record.key or b"").decode(errors="replace")
                later_changes.setdefault(cart_id, []).append(record.value)
            progress.done += len(records)
        return later_changes

    async def _states(self, kept: dict[str, Found], extent: Extent) -> list[tuple[str, Found]]:
        """What to put of the newest records of some carts."""
        if extent.rows is None:
            # Carts that have idled for long are left to their rows, if there are any.
            now_us = clock_us()
            return [
                (cart_id, found)
                for cart_id, found in kept.items()
                if not isinstance(found, State)
                or not self._lifetime.idle(cart_id, found.version_number, now_us)
            ]
        rows = await self._rows_of(kept, extent)
        states = ((cart_id, restoration_base(found, rows.get(cart_id))) for cart_id, found in kept.items())
        return [(cart_id, state) for cart_id, state in states if state is not None]

    async def _rows_of(self, cart_ids: Iterable[str], extent: Extent) -> dict[str, State]:
        """The states in the rows of those carts that have one.

        Raises RestoreStartsOver, RowsUnavailable, RowUnreadable.
        """
        ids = list(cart_ids)
        if extent.rows is None or self._rows is None or not ids:
            return {}
        found = await self._rows.look_up(ids)
        for row in found.values():
            if row.topic_id != extent.topic_id or not rows_stand_at(extent.rows.position, row.position):
                raise RestoreStartsOver
        return {cart_id: row.state for cart_id, row in found.items() if row.state is not None}


class Extent(NamedTuple):
    """What a restoration reads: the changes C..E, and `carts` from its tail's begin, or its own, to X.

    `rows` is how far the rows were when it began, None if all of `carts` is read.
    """

    changes_place: TopicPartition
    changes: OffsetRange
    carts_place: TopicPartition
    carts: OffsetRange
    rows: Position | None
    topic_id: str


class Scan:
    """Sorts the records of `carts`: carts to put at once, and those to fold later changes onto."""

    def __init__(self, layout: Layout, later_changes: dict[str, list[bytes | None]]) -> None:
        """`later_changes`: changes after the committed offset, by cart id."""
        self._layout = layout
        self._later_changes = later_changes
        self._bases: dict[str, Found] = {}
        self._purge_floor = 0

    def take(self, records: list[Record]) -> dict[str, Found]:
        """What to put now: of each cart the newest."""
        kept: dict[str, Found] = {}
        for record in records:
            understood = understand_cart(record, self._layout.partitions)
            if isinstance(understood, PurgeFloor):
                self.raise_purge_floor(understood.purge_floor)
            elif understood is not None:
                cart_id, found = understood
                keep(self._bases if cart_id in self._later_changes else kept, cart_id, found)
        return kept

    def raise_purge_floor(self, floor: int) -> None:
        """Nothing at or below it comes back. Read it after `carts`: it was written before the deletions."""
        self._purge_floor = max(self._purge_floor, floor)

    def changed_carts(self) -> Iterator[list[str]]:
        """The carts with later changes, in batches."""
        ids = list(self._later_changes)
        for at in range(0, len(ids), BATCH):
            yield ids[at : at + BATCH]

    def folded(self, cart_ids: list[str], rows: dict[str, State]) -> list[tuple[str, Found]]:
        """Their states, the changes folded onto the higher of the newest record and the row."""
        states: list[tuple[str, Found]] = []
        for cart_id in cart_ids:
            base = restoration_base(self._bases.get(cart_id), rows.get(cart_id))
            state = refold(base, cart_id, self._later_changes[cart_id], self._purge_floor)
            put = base if state is None else state
            if put is not None:
                states.append((cart_id, put))
        return states
