"""A range of offsets is read to its end, whatever compaction has left of it; a silent broker is no end."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from runtime.kafka import ranges
from runtime.kafka.ranges import OffsetRange, RangeReader, ReadStalled, Record
from runtime.settings import KafkaSettings

PLACE = TopicPartition("carts", 0)


class FakeConsumer:
    """A partition with records at these offsets, and a broker that answers or is silent after them."""

    def __init__(self, offsets: Sequence[int], *, end: int, answers: bool) -> None:
        self._offsets = list(offsets)
        self._end = end
        self._answers = answers
        self._polls = 0
        self._position = 0
        self.fetched: set[TopicPartition] = set()
        """What an aiokafka consumer would fetch, whether or not anybody asks for records."""

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Fetch these and no others."""
        self.fetched = set(partitions)

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch these no more."""
        self.fetched -= set(partitions)

    async def committed(self, _: TopicPartition) -> int:
        """Of a group."""
        return 2

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The end of the log, of each."""
        return dict.fromkeys(partitions, self._end)

    def seek(self, _: object, offset: int) -> None:
        """Read from there."""
        self._position = offset

    async def position(self, _: object) -> int:
        """After the last record handed out."""
        return self._position

    def highwater(self, _: object) -> int:
        """The end of the log."""
        return self._end

    def last_poll_timestamp(self, _: object) -> int:
        """Changes with every answer."""
        return self._polls

    async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[Any]]:
        """All records at once, then nothing."""
        await asyncio.sleep(0)
        self._polls += self._answers or bool(self._offsets)
        found = [SimpleNamespace(offset=at) for at in self._offsets if at >= self._position]
        self._offsets = []
        if found:
            self._position = found[-1].offset + 1
        return {PLACE: found} if found else {}


class CrowdedConsumer(FakeConsumer):
    """Another partition fills the answers for a while; those of `PLACE` come when it has no more."""

    CROWD = TopicPartition("carts", 1)

    def __init__(self, offsets: Sequence[int], *, end: int, crowd: int) -> None:
        super().__init__(offsets, end=end, answers=True)
        self._crowd = crowd
        self._handed_out = 0

    async def position(self, partition: object) -> int:
        """After the last record handed out."""
        return self._handed_out if partition == self.CROWD else self._position

    async def getmany(self, *_: object, **__: object) -> dict[TopicPartition, list[Any]]:
        """Of the other partition one record, if it has one."""
        if self._handed_out < self._crowd:
            self._polls += 1
            self._handed_out += 1
            return {self.CROWD: [SimpleNamespace(offset=self._handed_out - 1)]}
        return await super().getmany()


async def offsets_read(reader: RangeReader, wanted: OffsetRange) -> list[int]:
    return [record.offset async for records in reader.read({PLACE: wanted}) for record in records]


def reader_of(consumer: FakeConsumer, monkeypatch: pytest.MonkeyPatch) -> RangeReader:
    monkeypatch.setattr(ranges, "AIOKafkaConsumer", lambda **_: consumer)
    return RangeReader(KafkaSettings())


async def test_offsets_that_compaction_has_emptied_at_the_end_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = reader_of(FakeConsumer([0, 2], end=9, answers=True), monkeypatch)
    assert await offsets_read(reader, OffsetRange(0, 9)) == [0, 2]


async def test_a_range_without_a_single_record_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = reader_of(FakeConsumer([12], end=13, answers=True), monkeypatch)
    assert await offsets_read(reader, OffsetRange(0, 9)) == []


async def test_a_reader_that_reads_nothing_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = FakeConsumer([3], end=4, answers=True)
    reader = reader_of(consumer, monkeypatch)
    assert await reader.committed(PLACE) == 2
    assert not consumer.fetched
    assert await offsets_read(reader, OffsetRange(0, 4)) == [3]
    assert not consumer.fetched


@pytest.mark.parametrize(("end", "believed"), [(3, 2), (2, 2), (1, None)])
async def test_an_offset_past_the_end_of_the_log_is_none(
    end: int, believed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_of(FakeConsumer([], end=end, answers=True), monkeypatch)
    assert await reader.committed(PLACE) == believed


async def test_answers_that_another_partition_fills_are_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = CrowdedConsumer([0, 1, 2], end=3, crowd=9)
    reader = reader_of(consumer, monkeypatch)
    wanted = {PLACE: OffsetRange(0, 3), consumer.CROWD: OffsetRange(0, 9)}
    found = [record async for records in reader.read(wanted) for record in records]
    assert len(found) == 3 + 9


async def test_a_broker_that_is_silent_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "STALLED_SECONDS", 0.01)
    reader = reader_of(FakeConsumer([0, 2], end=9, answers=False), monkeypatch)
    with pytest.raises(ReadStalled, match="carts/0 is at 3, not 9"):
        await offsets_read(reader, OffsetRange(0, 9))


async def test_ranges_of_several_partitions_are_read_each_in_its_order(kafka_bootstrap: str) -> None:
    topic = f"ranges-{uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for number in range(5):
            for partition in (0, 1):
                await producer.send_and_wait(topic, b"%d" % number, partition=partition)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    found: dict[int, list[int]] = {0: [], 1: []}
    async with RangeReader(KafkaSettings(kafka_bootstrap=kafka_bootstrap)) as reader:
        assert await reader.bounds_of([first, second]) == {
            first: OffsetRange(0, 5),
            second: OffsetRange(0, 5),
        }
        batches: list[list[Record]] = [
            records
            async for records in reader.read({first: OffsetRange(1, 3), second: OffsetRange(0, 5)}, batch=2)
        ]
    for records in batches:
        assert len({record.partition for record in records}) == 1
        found[records[0].partition] += [record.offset for record in records]
    assert found == {0: [1, 2], 1: [0, 1, 2, 3, 4]}


async def test_a_reader_that_is_closed_as_soon_as_it_is_open_cancels_nobody(kafka_bootstrap: str) -> None:
    async with RangeReader(KafkaSettings(kafka_bootstrap=kafka_bootstrap)):
        pass


async def test_a_client_that_looks_cancelled_when_it_is_closed_cancels_nobody(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(consumer: AIOKafkaConsumer) -> None:
        await closed(consumer)
        raise asyncio.CancelledError

    closed = AIOKafkaConsumer.stop
    monkeypatch.setattr(AIOKafkaConsumer, "stop", stop)
    async with RangeReader(KafkaSettings(kafka_bootstrap=kafka_bootstrap)):
        pass
