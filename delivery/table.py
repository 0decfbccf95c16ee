"""A Faust table whose changelog is a public topic: with headers, acknowledged, replayed by version."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, NamedTuple, NoReturn, Protocol

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
from delivery.states import LOST_END, Distrust, HeadersOf, Keep, PartitionStates, distrust, found_short
from delivery.stores import LocalStore, Position
from runtime.kafka.ranges import OffsetRange, RangeReader

log = structlog.get_logger(__name__)

BATCH = 1000
FETCH_BYTES = 256 << 10
"""Of one partition, compressed: a worker reads all of its partitions at once."""
PROGRESS_EVERY_S = 5.0
LOG_APPEND_TIME = 1
"""The type of a timestamp that is the broker's, and of all records of a batch."""

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


class Opened(Protocol):
    """The partition's changelog is about to be read on top of what the store holds.

    That is nothing if it `is_rebuilt`, which is reading it from its beginning. Whatever `keep` remembers of
    the partition from record to record ends here; what is still true of it is found with `get(key)`.
    """

    def __call__(self, partition: int, get: Callable[[bytes], bytes | None], /, *, is_rebuilt: bool) -> None:
        """Forget and find."""


def nothing_to_find(_partition: int, _get: Callable[[bytes], bytes | None], **_: bool) -> None:
    """For a `keep` that remembers nothing."""


Replaying = Callable[[Collection[int]], AbstractAsyncContextManager[None]]
"""`replaying(partitions)` is entered before these partitions are read, and left before their first run."""


def nothing_else_to_read(_partitions: Collection[int]) -> AbstractAsyncContextManager[None]:
    """For a table that is all its agent knows."""
    return nullcontext()


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
        replaying: Replaying = nothing_else_to_read,
    ) -> None:
        name = writer.topic
        topic = app.topic(name, **RAW, internal=True)
        super().__init__(app, name=name, key_type=bytes, value_type=bytes, changelog_topic=topic)
        self._settings = settings
        self._keep = keep
        self._headers_of = headers_of
        self._opened = opened
        self._replaying = replaying
        self._local = LocalStore(
            settings.datadir / "tables" / f"{app.conf.id}-{name}",
            cache_bytes=settings.local_store_cache_bytes,
            write_buffer_bytes=settings.local_store_write_buffer_bytes,
        )
        self._partitions: dict[int, PartitionStates] = {}
        self._writer = writer
        self._lock = asyncio.Lock()
        self._is_replaying = False

    def open(self) -> None:
        """Take the local store; before the app starts. Raises StoreInUse, StoreUnusable."""
        self._local.open()

    def close(self) -> None:
        """Let go of the local store; after the app has stopped, or with nothing on its way."""
        for states in self._partitions.values():
            states.release()
        self._partitions.clear()
        self._local.close()

    # -- reading and writing, while a run is processed -------------------------------------------------

    def lookup(self, run: Run, key: bytes) -> bytes | None:
        """The value held for `key` in the run's partition, or None."""
        if not self._holds(run):
            return None
        return self._partitions[run.partition].get(key)

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
                consumer_of(self.app).ledger.emitted(run, future)

    def _holds(self, run: Run) -> bool:
        return consumer_of(self.app).ledger.holds(run)

    async def _send(self, partition: int, batch: Batch) -> asyncio.Future[Any]:
        states = self._partitions[partition]
        future = await self._writer.send(batch, partition)
        # Not before: whoever is cancelled, or gives up, while the producer has no room has sent nothing.
        in_flight = states.sending([(state.key, state.value) for state in batch.states])

        def answered(answer: asyncio.Future[Any]) -> None:
            if acknowledged(answer):
                told = answer.result()
                is_of_broker = told.timestamp_type == LOG_APPEND_TIME
                states.acknowledged(in_flight, told.offset, told.timestamp if is_of_broker else 0)

        future.add_done_callback(answered)
        return future

    # -- the changelog, as others may have written it ------------------------------------------------

    async def replay(self, partitions: set[int]) -> None:
        """Bring the states of exactly these partitions in line with the changelog.

        What the store has of a partition is read on from where it ends; if it cannot be trusted, the
        changelog is read from its beginning. Partitions that another worker has now stay in the store: when
        they come back, they are read on from there.
        """
        started = time.monotonic()
        await self._writer.start()
        async with self._lock, self._replaying(partitions):
            for partition in self._partitions.keys() - partitions:
                self._partitions.pop(partition).release()
            # A consumer that is never asked for a partition cannot be counted on: it is not even connected.
            self._is_replaying = True
            try:
                read = await self._replay(partitions) if partitions else {}
            finally:
                self._is_replaying = False
        log.info(
            "table.replayed",
            table=self.name,
            partitions=len(partitions),
            **read,
            seconds=round(time.monotonic() - started, 2),
        )

    async def _replay(self, partitions: set[int]) -> dict[str, int]:
        async with self._reader() as reader:
            asked_at = time.time()
            topic_id = await reader.topic_id(self.changelog_topic_name)
            bounds = {
                place.partition: span
                for place, span in (await reader.bounds_of(map(self._changelog, partitions))).items()
            }
            rebuilt, short = self._open(bounds, topic_id, asked_at, await self._record_times(reader, bounds))
            spans = {
                partition: self._partitions[partition].read_on_to(span.end)
                for partition, span in bounds.items()
            }
            log.info(
                "table.opened",
                table=self.name,
                partitions=len(partitions),
                rebuilt={str(why): sorted(some) for why, some in rebuilt.items()},
                records=sum(span.size for span in spans.values()),
            )
            if short:
                log.error(
                    "table.changelog_lost_its_end",
                    table=self.name,
                    partitions={partition: str(why) for partition, why in short.items()},
                    consequence="it is read from its beginning, and what it lacks is sent again",
                )
            of_rebuilt = {partition for some in rebuilt.values() for partition in some}
            for partition in partitions:
                self._opened(partition, self._partitions[partition].get, is_rebuilt=partition in of_rebuilt)
            count, grown = await self._absorb(reader, spans, asked_at)
            await self._send_again(partitions)
        return {
            "records": count,
            "rebuilt_partitions": len(of_rebuilt),
            "rebuilt_states": sum(grown[partition] for partition in of_rebuilt),
        }

    def _known(self) -> dict[int, Position]:
        held = {partition: states.position for partition, states in self._partitions.items()}
        return self._local.positions() | held

    async def _record_times(
        self, reader: RangeReader, bounds: Mapping[int, OffsetRange]
    ) -> Mapping[int, int]:
        """The timestamps of the records before the positions, of those that are still there."""
        last = {
            self._changelog(partition): position.offset - 1
            for partition, position in self._known().items()
            if partition in bounds and position.record_time and position.offset <= bounds[partition].end
        }
        return {place.partition: found for place, found in (await reader.times_at(last)).items()}

    def _open(
        self, bounds: Mapping[int, OffsetRange], topic_id: str, now: float, record_times: Mapping[int, int]
    ) -> tuple[dict[Distrust, list[int]], dict[int, Distrust]]:
        """Open the partitions on what is known of them.

        Returns those that begin empty, by the reason, and those whose log has less than their store. One that
        has not answered everything is read again from the first record that it owes an answer: whatever
        `keep` has found out about that ends when the partition is opened.
        """
        rebuilt: dict[Distrust, list[int]] = {}
        short: dict[int, Distrust] = {}
        stored = self._local.positions()
        for partition, log_has in bounds.items():
            held = self._partitions.get(partition)
            position = held.position if held is not None else stored.get(partition)
            why = self._distrust(position, topic_id, log_has, now, record_times.get(partition))
            if held is not None and why in {None, Distrust.NO_TOPIC_ID} and not held.may_be_behind:
                continue
            if position is not None and why in LOST_END:
                short[partition] = why
                position = found_short(position, log_has.start)
            elif why is not None:
                rebuilt.setdefault(why, []).append(partition)
                self._local.discard(partition)
                position = None
            if held is not None:
                held.release()
            self._partitions[partition] = PartitionStates(
                self._local, partition, position or Position(topic_id, log_has.start, now)
            )
        for partition in stored.keys() - bounds.keys():
            # Another worker's, kept for the day it comes back, unless it will not be trusted on that day.
            offset = stored[partition].offset
            why = self._distrust(stored[partition], topic_id, OffsetRange(offset, offset), now)
            if why is not None and why not in LOST_END:
                self._local.discard(partition)
        return rebuilt, short

    def _distrust(
        self,
        position: Position | None,
        topic_id: str,
        log_has: OffsetRange,
        now: float,
        record_time: int | None = None,
    ) -> Distrust | None:
        age_s = now - position.as_of if position is not None else 0.0
        max_age_s = self._settings.local_store_max_age_s
        return distrust(position, topic_id, log_has, age_s, max_age_s, record_time)

    @property
    def changelog_may_be_behind(self) -> bool:
        """Whether somebody else has written to the changelog and was not answered yet.

        Not while the table is read at an assignment, which takes as long as it takes.
        """
        return not self._is_replaying and any(states.may_be_behind for states in self._partitions.values())

    async def answer_foreign_writes(self) -> None:
        """Read what others have written to our partitions and send our state again where theirs is older.

        A worker that was frozen and woke up flushes its last records after ours; compaction would keep
        them. Our own acknowledged offsets, and the log's end while nothing is in flight, show it.
        """
        seen = {partition: states.seen for partition, states in self._partitions.items()}
        asked_at = time.time()
        places = [TP(self.changelog_topic_name, partition) for partition in seen]
        ends = await self.app.consumer.highwaters(*places) if places else {}
        for place, end in ends.items():
            if states := self._partitions.get(place.partition):
                states.log_ends_at(end, seen[place.partition], asked_at)
        if not self._missing() and not any(states.owes_answers for states in self._partitions.values()):
            return
        count = 0
        async with self._lock, self._reader() as reader:
            while missing := self._missing():
                read, _ = await self._absorb(reader, missing)
                count += read
            await self._send_again(self._partitions)
        if count:
            log.warning("table.foreign_writes", table=self.name, records=count)

    def _missing(self) -> dict[int, OffsetRange]:
        return {
            partition: span
            for partition, states in self._partitions.items()
            if (span := states.missing()) is not None
        }

    async def _absorb(
        self, reader: RangeReader, spans: Mapping[int, OffsetRange], as_of: float | None = None
    ) -> tuple[int, Counter[int]]:
        """Read the ranges into the states; returns how many records, and new states by partition.

        The ranges end where the log did at `as_of`, if it is given.
        """
        count, of = 0, sum(span.size for span in spans.values())
        grown: Counter[int] = Counter()
        shown_at = time.monotonic()
        ranges = {self._changelog(partition): span for partition, span in spans.items()}
        async for records in reader.read(ranges, batch=BATCH):
            partition = records[0].partition
            grown[partition] += self._partitions[partition].absorb(records, self._keep)
            count += len(records)
            # What is fetched already is handed out without a pause, and much is fetched at once.
            await asyncio.sleep(0)
            if time.monotonic() - shown_at > PROGRESS_EVERY_S:
                shown_at = time.monotonic()
                log.info("table.replaying", table=self.name, records=count, of=of)
        for partition, span in spans.items():
            self._partitions[partition].absorbed(span.end, as_of)
        metrics.REPLAYED.labels(self.name).inc(count)
        return count, grown

    def _reader(self) -> RangeReader:
        return RangeReader(self._settings, fetch_bytes=FETCH_BYTES)

    def _changelog(self, partition: int) -> TopicPartition:
        return TopicPartition(self.changelog_topic_name, partition)

    async def _send_again(self, partitions: Iterable[int]) -> None:
        count = 0
        for partition in partitions:
            states = self._partitions[partition]
            again = [
                HeldState(key, value, self._headers_of(key, value))
                for key, value in states.to_send_again(self._keep, self._headers_of)
            ]
            for batch in self._writer.batches(again):
                future = await self._send(partition, batch)
                future.add_done_callback(stop_if_refused)
            states.sent_again()
            count += len(again)
        if count:
            metrics.SENT_AGAIN.labels(self.name).inc(count)
            log.warning("table.sent_again", table=self.name, keys=count)

    # -- what Faust would do itself -------------------------------------------------------------------

    def items(self) -> Iterator[tuple[bytes, bytes]]:  # type: ignore[override]
        """Every key and value of the partitions held, for inspection."""
        for partition in sorted(self._partitions):
            yield from self._partitions[partition].items()

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
