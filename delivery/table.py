"""A Faust table whose changelog is a public topic: with headers, acknowledged, replayed by version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

import faust
import structlog
from aiokafka import TopicPartition
from faust.types import TP

from delivery import metrics
from delivery.changelog import Batch, ChangelogWriter, Headers, KeyedState
from delivery.consumer import consumer_of
from delivery.errors import OutsideOfStream, RecordTooLarge
from delivery.faust_internals import HookedTable
from delivery.ledger import acknowledged, stop_if_refused
from delivery.runs import Run
from delivery.settings import DeliverySettings
from delivery.stores import MemoryStore, RocksStore, Store
from runtime.kafka.ranges import OffsetRange, RangeReader, Record

log = structlog.get_logger(__name__)

BATCH = 2000
FETCH_BYTES = 4 << 20
"""Of one partition: a worker reads all of its partitions at once."""
PROGRESS_EVERY_S = 5.0

RAW: Final[dict[str, Any]] = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
    "allow_empty": True,
    # The ledger accounts for offsets; Faust's list of acknowledgements only grows.
    "acks": False,
}
"""Options of a topic of bytes; a tombstone's value is None."""

Keep = Callable[[bytes, "bytes | None", "bytes | None", Headers], "bytes | None"]
"""`keep(key, held, read, read_headers)`: what the table shall hold after reading `read` from its changelog
while it holds `held`; None is absent or a tombstone. Return one of the two objects unless they must be
united. A result unlike `read` means that the log ended with an older state: it is sent again."""

HeadersOf = Callable[[bytes, "bytes | None"], Headers]
"""The headers of a state that is sent again."""

Opened = Callable[[int, "Callable[[bytes], bytes | None]"], None]
"""`opened(partition, get)`: the partition's changelog is about to be read on top of what the store holds,
which is nothing if it is read from its beginning. Whatever `keep` remembers of the partition from record to
record ends here; what is still true of it is found with `get(key)`."""


def nothing_to_find(_partition: int, _get: Callable[[bytes], bytes | None]) -> None:
    """For a `keep` that remembers nothing."""


class HeldState(NamedTuple):
    """A key as the table holds it, to be sent again."""

    key: bytes
    value: bytes | None
    headers: Headers


class ChangelogTable(HookedTable):
    """State of the partitions this worker owns, by key, in bytes.

    Read with `lookup`, write with `emit`, both with the run being processed. The dictionary writes of
    Faust's table are refused: they would send a changelog record without headers and tell nobody its fate.
    """

    def __init__(
        self,
        app: faust.App,
        *,
        writer: ChangelogWriter,
        settings: DeliverySettings,
        keep: Keep,
        headers_of: HeadersOf,
        opened: Opened = nothing_to_find,
    ) -> None:
        name = writer.topic
        topic = app.topic(name, **RAW, internal=True)
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, changelog_topic=topic)
        self._settings = settings
        self._keep = keep
        self._headers_of = headers_of
        self._opened = opened
        self._local: Store = (
            MemoryStore()
            if settings.store == "memory"
            else RocksStore(
                settings.datadir / "tables" / f"{app.conf.id}-{name}", settings.local_store_max_age_s
            )
        )
        self._writer = writer
        self._next: dict[int, int] = {}  # partition -> offset of its next changelog record if all are ours
        self._in_flight: dict[int, int] = {}
        self._foreign: dict[int, OffsetRange] = {}  # partition -> range that somebody else has written
        self._lock = asyncio.Lock()

    # -- reading and writing, while a run is processed -------------------------------------------------

    def lookup(self, run: Run, key: bytes) -> bytes | None:
        """The value held for `key` in the run's partition, or None."""
        if not self._holds(run):
            return None
        return self._local.get(run.partition, key)

    async def emit(self, run: Run, states: Sequence[KeyedState]) -> None:
        """Set each key to its value (None deletes, and sends a tombstone) and send the changelog records.

        They go to the run's partition in the order given. Nothing of the run is committed before all are
        acknowledged; if one is refused the process ends with code 75. Nothing happens for a run whose
        partition has been revoked.

        Raises RecordTooLarge before anything is changed if a value is larger than `max_record_bytes`, and
        faust.exceptions.PartitionsMismatch if changelog and source differ in partitions.
        """
        largest = max((len(state.value or b"") for state in states), default=0)
        if largest > self._settings.max_record_bytes:
            raise RecordTooLarge(f"{largest} bytes, at most {self._settings.max_record_bytes} are accepted")
        self.verify_partitions(run.topic)
        async with self._lock:
            for batch in self._writer.batches(states):
                if not self._holds(run):
                    log.info("table.run_outlived_assignment", table=self.name, partition=run.partition)
                    return
                future = await self._send(run.partition, batch)
                if self._holds(run):
                    for state in batch.states:
                        self._local.put(run.partition, state.key, state.value)
                consumer_of(self.app).ledger.emitted(run, future)

    def _holds(self, run: Run) -> bool:
        return consumer_of(self.app).ledger.holds(run)

    async def _send(self, partition: int, batch: Batch) -> asyncio.Future[Any]:
        future = await self._writer.send(batch, partition)
        self._in_flight[partition] = self._in_flight.get(partition, 0) + 1
        future.add_done_callback(partial(self._sent, partition, batch.states))
        return future

    def _sent(self, partition: int, states: Sequence[KeyedState], future: asyncio.Future[Any]) -> None:
        """The broker has answered for a batch: its records stand at offsets without a gap between them."""
        self._in_flight[partition] -= 1
        if not acknowledged(future) or partition not in self._next:
            return
        offset, expected = future.result().offset, self._next[partition]
        if offset > expected:
            self._found_foreign(partition, expected, offset)
        self._next[partition] = max(expected, offset + len(states))

    # -- the changelog, as others may have written it ------------------------------------------------

    async def replay(self, partitions: set[int]) -> None:
        """Bring the store in line with the changelog of exactly these partitions.

        Partitions held already are read on from where they were; others are dropped.
        """
        started = time.monotonic()
        await self._writer.start()
        async with self._lock:
            for partition in self._local.partitions() - partitions:
                self._local.close(partition)
                self._next.pop(partition, None)
                self._foreign.pop(partition, None)
            # A consumer that is never asked for a partition cannot be counted on: it is not even connected.
            count = await self._replay(partitions) if partitions else 0
        log.info(
            "table.replayed",
            table=self.name,
            partitions=len(partitions),
            records=count,
            seconds=round(time.monotonic() - started, 2),
        )

    async def _replay(self, partitions: set[int]) -> int:
        async with self._reader() as reader:
            ranges: dict[int, OffsetRange] = {}
            bounds = await reader.bounds_of(map(self._changelog, partitions))
            for (_, partition), (beginning, end) in bounds.items():
                held = partition in self._local.partitions()
                start = self._seen_up_to(partition) if held else self._local.open(partition)
                if start is None or not beginning <= start <= end:
                    self._local.discard(partition)
                    start = beginning
                self._opened(partition, partial(self._local.get, partition))
                ranges[partition] = OffsetRange(start, end)
            # Until all is read the old positions are no longer true: a replay cut short must start over.
            self._next.clear()
            self._foreign.clear()
            count, outdated = await self._absorb(reader, ranges)
            self._next = {partition: end for partition, (_, end) in ranges.items()}
            await self._send_again(outdated)
        return count

    async def answer_foreign_writes(self) -> None:
        """Read what others have written to our partitions and send our state again where theirs is older.

        A worker that was frozen and woke up flushes its last records after ours; compaction would keep
        them. Our own acknowledged offsets, and the log's end while nothing is in flight, show it.
        """
        idle = [TP(self.changelog_topic_name, p) for p in self._next if not self._in_flight.get(p)]
        ends = await self.app.consumer.highwaters(*idle) if idle else {}
        for tp, end in ends.items():
            expected = self._next.get(tp.partition)
            if expected is not None and end > expected and not self._in_flight.get(tp.partition):
                self._found_foreign(tp.partition, expected, end)
                self._next[tp.partition] = end
        if not self._foreign:
            return
        async with self._lock, self._reader() as reader:
            ranges, self._foreign = self._foreign, {}
            try:
                count, outdated = await self._absorb(reader, ranges)
            except BaseException:
                for partition, span in ranges.items():
                    self._found_foreign(partition, *span)
                raise
            await self._send_again(outdated)
        log.warning("table.foreign_writes", table=self.name, ranges=ranges, records=count)

    async def _absorb(
        self, reader: RangeReader, ranges: dict[int, OffsetRange]
    ) -> tuple[int, set[tuple[int, bytes]]]:
        """Read the ranges into the store; returns how many records, and the keys whose last is outdated."""
        outdated: set[tuple[int, bytes]] = set()

        def absorb(record: Record) -> None:
            partition, key, read = record.partition, record.key, record.value
            held = self._local.get(partition, key)
            kept = self._keep(key, held, read, record.headers)
            if kept != held:
                self._local.put(partition, key, kept)
            if kept == read:
                outdated.discard((partition, key))
            else:
                outdated.add((partition, key))

        count, of = 0, sum(span.size for span in ranges.values())
        shown_at = time.monotonic()
        spans = {self._changelog(partition): span for partition, span in ranges.items()}
        async for records in reader.read(spans, batch=BATCH):
            for record in records:
                absorb(record)
            count += len(records)
            if time.monotonic() - shown_at > PROGRESS_EVERY_S:
                shown_at = time.monotonic()
                log.info("table.replaying", table=self.name, records=count, of=of)
        metrics.REPLAYED.labels(self.name).inc(count)
        return count, outdated

    def _reader(self) -> RangeReader:
        return RangeReader(self._settings, fetch_bytes=FETCH_BYTES)

    def _changelog(self, partition: int) -> TopicPartition:
        return TopicPartition(self.changelog_topic_name, partition)

    async def _send_again(self, outdated: set[tuple[int, bytes]]) -> None:
        for partition in {partition for partition, _ in outdated}:
            states = [self._held_state(partition, key) for of, key in outdated if of == partition]
            for batch in self._writer.batches(states):
                future = await self._send(partition, batch)
                future.add_done_callback(stop_if_refused)
        if outdated:
            metrics.SENT_AGAIN.labels(self.name).inc(len(outdated))
            log.warning("table.sent_again", table=self.name, keys=len(outdated))

    def _held_state(self, partition: int, key: bytes) -> HeldState:
        value = self._local.get(partition, key)
        return HeldState(key, value, self._headers_of(key, value))

    def _seen_up_to(self, partition: int) -> int | None:
        """Every changelog record below this offset is in the store; None if that is not known."""
        expected = self._next.get(partition)
        return (
            self._foreign[partition].start
            if expected is not None and partition in self._foreign
            else expected
        )

    def _found_foreign(self, partition: int, start: int, end: int) -> None:
        known = self._foreign.get(partition, OffsetRange(start, end))
        self._foreign[partition] = OffsetRange(min(known.start, start), max(known.end, end))

    def close_cleanly(self) -> None:
        """Last act of a graceful stop, after every changelog record was acknowledged."""
        unsettled = set(self._foreign) | {p for p, count in self._in_flight.items() if count}
        self._local.close_cleanly({p: offset for p, offset in self._next.items() if p not in unsettled})

    # -- what Faust would do itself -------------------------------------------------------------------

    def items(self) -> Iterator[tuple[bytes, bytes]]:  # type: ignore[override]
        """Every key and value of the partitions held, for inspection."""
        for partition in sorted(self._local.partitions()):
            yield from self._local.items(partition)

    def __setitem__(self, key: bytes, value: bytes) -> NoReturn:
        raise OutsideOfStream("Write with `await table.emit(run, states)`")

    def __delitem__(self, key: bytes) -> NoReturn:
        raise OutsideOfStream("Delete with `await table.emit(run, states)` and a value of None")

    async def on_start(self) -> None:
        """Nothing to start: the changelog topic is made by `cartstream topics apply`."""

    async def on_stop(self) -> None:
        """Send what is under way."""
        await self._writer.stop()

    async def on_rebalance(self, *_: Any) -> None:
        """Partitions are opened and dropped by `replay`."""

    async def on_recovery_completed(self, *_: Any) -> None:
        """Nothing left to do after `replay`."""

    def persisted_offset(self, _: TP) -> None:
        """None: Faust's own recovery is not used."""
