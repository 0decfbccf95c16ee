"""Reads `carts` for all followers of a process in one place.

aiokafka wakes everybody who waits for records whenever there are some, whoever they are for. And it fetches
nothing as long as records of one partition are left over. So all are taken at once; then some more collect in
the log (`runtime.kafka.looks`).
"""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from runtime.kafka.looks import begin_look, end_look, is_backlog
from runtime.kafka.ranges import Record
from sinks.redis.membership import FETCH_BYTES

LINGER_S: Final = 0.2
"""Between two looks at a log without a backlog: states of some changes go into Redis together."""
MANY: Final = 2000
POLL_MS: Final = 100
"""How long a follower that begins to wait may be kept waiting by those that wait already."""


class FollowedLog:
    """Hands out records of the partitions that somebody waits for."""

    def __init__(self) -> None:
        self._waiting: dict[TopicPartition, asyncio.Future[list[Record]]] = {}
        self._asked = asyncio.Event()

    async def read(self, source: TopicPartition) -> list[Record]:
        """The next records from where the consumer is; none if it is woken. Raises KafkaError.

        One task at a time for each partition. One that seeks must wait here next.
        """
        waiting: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()
        self._waiting[source] = waiting
        self._asked.set()
        try:
            return await waiting
        finally:
            # Of one that was cancelled: the others have left when they were answered.
            if self._waiting.get(source) is waiting:
                del self._waiting[source]

    def wake(self, source: TopicPartition) -> None:
        """Let the one who waits for records of this partition look at something else; it seeks afterwards."""
        self._resolve(source, [])

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Read until cancelled."""
        while True:
            await self._asked.wait()
            await begin_look(consumer, self._waiting)
            wanted = [source for source in self._waiting if source in consumer.assignment()]
            rests = not wanted or await self._hand_out(consumer, wanted)
            if not self._waiting:
                self._asked.clear()
            if rests:
                await asyncio.sleep(LINGER_S)

    async def _hand_out(self, consumer: AIOKafkaConsumer, wanted: list[TopicPartition]) -> bool:
        """Whether the next look is later: this one has found some records and no backlog, or has failed.

        One that has found nothing has waited for records itself, and the next one does at once: the first
        change after a quiet time is not kept waiting.
        """
        try:
            found = await consumer.getmany(*wanted, timeout_ms=POLL_MS, max_records=MANY)
        except KafkaError as error:
            for source in list(self._waiting):
                if (waiting := self._take(source)) is not None:
                    waiting.set_exception(error)
            return True
        rests = bool(found) and not is_backlog(found.values(), many=MANY, fetch_bytes=FETCH_BYTES)
        if rests:
            end_look(consumer, wanted)
        # Nothing comes between taking records from the consumer and this: they are of the place last sought.
        # Where nobody waits any more, whoever follows next seeks first.
        for source, records in found.items():
            self._resolve(source, records)
        return rests

    def _resolve(self, source: TopicPartition, records: list[Record]) -> None:
        if (waiting := self._take(source)) is not None:
            waiting.set_result(records)

    def _take(self, source: TopicPartition) -> asyncio.Future[list[Record]] | None:
        """The one who waits for the partition, who waits no more.

        It leaves here and now. It may not have had its turn when the next records are asked for: taken from
        the consumer for one who has been answered already, they would be missing.
        """
        waiting = self._waiting.pop(source, None)
        return None if waiting is None or waiting.done() else waiting
