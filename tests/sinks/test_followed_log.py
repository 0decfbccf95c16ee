"""How often the log is looked at, and for whom."""

import asyncio
from typing import Any, cast
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError

from runtime.settings import KafkaSettings
from sinks.redis.followed_log import LINGER_S, MANY, FollowedLog
from sinks.redis.membership import FETCH_BYTES
from tests.support.topics import make_topics
from tests.support.waiting import PATIENCE_S

SOURCE = TopicPartition("carts", 0)
RECORD = ConsumerRecord("carts", 0, 0, 0, 0, b"k", b"v", None, 1, 1, ())


class Consumer:
    """A consumer that always has so many records, after some looks that find none."""

    def __init__(self, number: int, empty_looks: int = 0) -> None:
        self.looks = 0
        self.rests = 0
        self._number = number
        self._empty_looks = empty_looks

    def assignment(self) -> set[TopicPartition]:
        """The one partition."""
        return {SOURCE}

    def paused(self) -> set[TopicPartition]:
        """It rests after a look that has found little."""
        return {SOURCE} if self.rests else set()

    def pause(self, *_: TopicPartition) -> None:
        """Ask for no more."""
        self.rests += 1

    def resume(self, *_: TopicPartition) -> None:
        """Ask again."""

    async def getmany(self, *_: Any, **__: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        """The next records, at once."""
        self.looks += 1
        return {} if self.looks <= self._empty_looks else {SOURCE: [RECORD] * self._number}


class FailingConsumer(Consumer):
    """A consumer whose looks fail."""

    async def getmany(self, *_: Any, **__: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Raise KafkaError."""
        self.looks += 1
        raise KafkaConnectionError


async def looks_while_followed(number: int, reads: int) -> tuple[int, int]:
    """How often the log is looked at, and rests, until so many reads of its follower are answered."""
    consumer, followed_log = Consumer(number), FollowedLog()
    reading = asyncio.create_task(followed_log.run(cast(AIOKafkaConsumer, consumer)))
    for _ in range(reads):
        assert len(await followed_log.read(SOURCE)) == number
    reading.cancel()
    return consumer.looks, consumer.rests


async def test_between_two_looks_at_a_log_without_a_backlog_some_records_collect() -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await looks_while_followed(1, reads=4) == (4, 4)
    assert clock() - began >= 3 * LINGER_S


async def test_a_backlog_waits_for_nothing_and_none_of_it_is_taken_for_nobody() -> None:
    assert await looks_while_followed(MANY, reads=20) == (20, 0)


async def test_the_first_change_after_a_quiet_time_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.redis.followed_log.LINGER_S", 3600.0)
    consumer, followed_log = Consumer(1, empty_looks=3), FollowedLog()
    reading = asyncio.create_task(followed_log.run(cast(AIOKafkaConsumer, consumer)))
    async with asyncio.timeout(PATIENCE_S):
        assert await followed_log.read(SOURCE) == [RECORD]
    reading.cancel()
    assert (consumer.looks, consumer.rests) == (4, 1)


async def test_a_look_that_has_failed_is_not_repeated_at_once() -> None:
    clock = asyncio.get_running_loop().time
    consumer, followed_log = FailingConsumer(0), FollowedLog()
    began = clock()
    reading = asyncio.create_task(followed_log.run(cast(AIOKafkaConsumer, consumer)))
    for _ in range(3):
        with pytest.raises(KafkaConnectionError):
            await followed_log.read(SOURCE)
    reading.cancel()
    assert clock() - began >= 2 * LINGER_S


async def test_a_backlog_of_a_few_large_records_waits_for_nothing(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.redis.followed_log.LINGER_S", 3600.0)
    kafka, source = (
        KafkaSettings(kafka_bootstrap=kafka_bootstrap),
        TopicPartition(f"large-{uuid4().hex[:8]}", 0),
    )
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    await make_topics(admin, NewTopic(source.topic, 1, 1))
    await admin.close()
    sent = [bytes([number]) * (FETCH_BYTES // 5) for number in range(9)]
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        for value in sent:
            await producer.send_and_wait(source.topic, value, partition=0)
    async with AIOKafkaConsumer(
        **kafka.client_options(), auto_offset_reset="earliest", max_partition_fetch_bytes=FETCH_BYTES
    ) as consumer:
        consumer.assign([source])
        followed_log, found = FollowedLog(), list[bytes | None]()
        reading = asyncio.create_task(followed_log.run(consumer))
        # One look brings four of them, and after one without a backlog there is no other one.
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < len(sent):
                found += [record.value for record in await followed_log.read(source)]
        reading.cancel()
    assert found == sent
