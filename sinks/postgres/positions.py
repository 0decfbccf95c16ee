"""Where the sink is in `carts`: in Postgres, moved in the transactions of the rows, and not in Kafka.

A database that goes back to a backup takes its positions back with it. So the sink notices, and reads again
what the rows have lost.
"""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

import psycopg
import stamina
import structlog
from aiokafka import TopicPartition

from runtime.failstop import fail_stop
from runtime.kafka.ranges import OffsetRange, RangeReader
from runtime.settings import KafkaSettings
from sinks.postgres.batch import Batch
from sinks.postgres.table import CartsTable, RowsFellBack
from store.postgres.errors import SchemaOutdated
from store.postgres.positions import Move, Position
from store.postgres.session import Address
from topics.plan import CLOSED, CLOSED_SETTING
from topics.registry import CART_CHANGED, CARTS

log = structlog.get_logger(__name__)

TOMBSTONES_S: Final = int(CARTS.settings["delete.retention.ms"]) / 1000
_WAIT_MAX_S: Final = 2.0


class BeginsAnew(StrEnum):
    """Why a partition is written from the start of its log."""

    UNKNOWN = "unknown"
    """It was never written, or by a version that kept no positions."""
    OTHER_TOPIC = "other_topic"
    """The topic was made anew."""
    BEYOND_END = "beyond_end"
    """The log ends before the position: it has lost its end."""
    OTHER_RECORD = "other_record"
    """It has lost its end, and has grown past the position since."""


class Passed(NamedTuple):
    """A record that the rows reflect; its timestamp in milliseconds."""

    partition: int
    offset: int
    time: int


def begins(
    found: Position | None, topic_id: str, log_range: OffsetRange, record_time: int | None
) -> tuple[int, BeginsAnew | None]:
    """Where to begin in a log, and why at its start if so. Pure.

    `record_time` is the timestamp of the record before the position found, None if it is not there any more.
    """
    if found is None:
        return log_range.start, BeginsAnew.UNKNOWN
    if found.topic_id != topic_id:
        return log_range.start, BeginsAnew.OTHER_TOPIC
    if found.position > log_range.end:
        return log_range.start, BeginsAnew.BEYOND_END
    if found.record_time and record_time not in {None, found.record_time}:
        return log_range.start, BeginsAnew.OTHER_RECORD
    return found.position, None


class Positions:
    """The positions of the partitions that this process owns."""

    def __init__(self, kafka: KafkaSettings, address: Address) -> None:
        self._kafka = kafka
        self._address = address
        self._topic_id = ""
        self._positions: dict[int, int] = {}
        """What is known of what stands in Postgres: it is there, or further."""

    async def begin(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Where to begin in partitions that were just assigned. Waits for Postgres.

        Ends the process with code 75 if it would begin anew in a generation that is closed: carts may have
        moved, and been deleted since. The next process waits, as every one of a closed generation.
        """
        async with RangeReader(self._kafka) as reader:
            self._topic_id = await reader.topic_id(CARTS.name)
            places = {partition: TopicPartition(CARTS.name, partition) for partition in partitions}
            bounds = await reader.bounds_of(places.values())
        logs = {partition: bounds[place] for partition, place in places.items()}
        async for attempt in stamina.retry_context(
            on=(psycopg.OperationalError, SchemaOutdated, TimeoutError),
            attempts=None,
            timeout=None,
            wait_max=_WAIT_MAX_S,
        ):
            with attempt:
                self._positions |= await self._begin(logs)
        return {partition: self._positions[partition] for partition in partitions}

    async def _begin(self, logs: Mapping[int, OffsetRange]) -> dict[int, int]:
        async with CartsTable(self._address) as table:
            found = await table.positions(list(logs))
            starts, anew = self._starts(logs, found, await self._record_times(logs, found))
            if anew:
                await self._require_open([each.partition for each in anew])
                await table.begin(anew)
            return starts

    async def _require_open(self, partitions: list[int]) -> None:
        async with RangeReader(self._kafka) as reader:
            if await reader.setting(CART_CHANGED.name, CLOSED_SETTING) == CLOSED:
                fail_stop(
                    "positions.generation_closed",
                    partitions=partitions,
                    meaning="carts move to another generation of their topics, or have moved",
                    next_step="stop this process once `cartstream topics repartition` has ended",
                )

    async def _record_times(
        self, logs: Mapping[int, OffsetRange], found: Mapping[int, Position]
    ) -> Mapping[int, int]:
        """The timestamps of the records before the positions, of those that are still there."""
        last = {
            TopicPartition(CARTS.name, partition): position.position - 1
            for partition, position in found.items()
            if position.record_time and position.position <= logs[partition].end
        }
        async with RangeReader(self._kafka) as reader:
            return {place.partition: time for place, time in (await reader.times_at(last)).items()}

    def _starts(
        self, logs: Mapping[int, OffsetRange], found: Mapping[int, Position], record_times: Mapping[int, int]
    ) -> tuple[dict[int, int], list[Position]]:
        starts: dict[int, int] = {}
        anew: list[Position] = []
        for partition, log_range in sorted(logs.items()):
            position = found.get(partition)
            start, why = begins(position, self._topic_id, log_range, record_times.get(partition))
            starts[partition] = start
            if why is not None:
                anew.append(Position(partition, self._topic_id, start))
                log.info("positions.begun_anew", partition=partition, why=why, position=start)
            elif position is not None and position.age_s > TOMBSTONES_S and start < log_range.end:
                log.error(
                    "positions.too_old",
                    partition=partition,
                    days=round(position.age_s / 86_400, 1),
                    consequence="deletions may be missed",
                    next_step="cartstream rebuild",
                )
        return starts, anew

    async def write(self, table: CartsTable, batch: Batch, records: Iterable[Passed]) -> int:
        """Write what the records say and move past them; returns how many rows that changed.

        Ends the process with code 75 if Postgres has gone back: the next one begins where the rows are.
        Raises psycopg.Error, SchemaOutdated or TimeoutError.
        """
        moves = self._moves(records)
        try:
            changed = await table.write(batch, moves)
        except RowsFellBack as error:
            fail_stop("positions.fell_back", partitions=[each.partition for each in moves], error=str(error))
        self._positions |= {each.partition: each.position for each in moves}
        return changed

    def _moves(self, records: Iterable[Passed]) -> list[Move]:
        moves: dict[int, Move] = {}
        for record in records:
            expected = self._positions[record.partition]
            before = moves.get(record.partition)
            moves[record.partition] = Move(
                record.partition,
                self._topic_id,
                expected,
                max(record.offset + 1, before.position if before else expected),
                record.time,
            )
        return [moves[partition] for partition in sorted(moves)]
