"""How often the log is looked at, and for whom."""

import asyncio
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition

from sinks.redis.followed_log import LINGER_S, MANY, FollowedLog

SOURCE = TopicPartition("carts", 0)


class Consumer:
    """A consumer that always has so many records."""

    def __init__(self, number: int) -> None:
        self.looks = 0
        self.rests = 0
        self._number = number

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

    async def getmany(self, *_: Any, **__: Any) -> dict[TopicPartition, list[None]]:
        """The next records, at once."""
        self.looks += 1
        return {SOURCE: [None] * self._number}


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
