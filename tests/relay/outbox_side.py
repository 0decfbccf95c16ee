"""Both ends of the relay for the tests: who writes into the outbox, and who reads what came out of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar
from uuid import uuid4

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from store.postgres import outbox
from store.postgres.outbox import OutboxRecord
from topics.registry import DEAD_LETTERS, ORDERS, PARTITIONS

PATIENCE_S: Final = 90.0

T = TypeVar("T")


def new_key(name: str = "order") -> str:
    """A key that no other test has."""
    return f"{name}-{uuid4().hex}"


def record(key: str, value: bytes | None = b"{}", topic: str = ORDERS.name) -> OutboxRecord:
    """A record for the outbox."""
    return OutboxRecord(topic, key, value, [("ce_id", key.encode()), ("note", "für Zoë".encode())])


async def write(url: str, *records: OutboxRecord) -> None:
    """Write records in one transaction of their own."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await outbox.write(connection, records)


async def rows(url: str) -> int:
    """How many rows wait."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return (await outbox.lag(connection)).rows


class Reader:
    """What came into `orders` and `dead-letters` since the test began."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._seen: list[ConsumerRecord] = []

    async def seek_to_now(self) -> None:
        """Pass over what other tests wrote."""
        places = [
            TopicPartition(name, partition)
            for name in (ORDERS.name, DEAD_LETTERS.name)
            for partition in range(PARTITIONS)
        ]
        self._consumer.assign(places)
        for place, end in (await self._consumer.end_offsets(places)).items():
            self._consumer.seek(place, end)

    def records(self, key: str, topic: str = ORDERS.name) -> list[ConsumerRecord]:
        """Those with the key, in their order."""
        return [record for record in self._seen if record.topic == topic and record.key == key.encode()]

    def values(self, key: str) -> list[bytes | None]:
        """Their values."""
        return [record.value for record in self.records(key)]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Read on until the condition holds."""

        async def read() -> bool:
            if not condition():
                for found in (await self._consumer.getmany(timeout_ms=200)).values():
                    self._seen += found
            return condition()

        await until(read, what)

    async def until_seen(self, keys: Sequence[str]) -> None:
        """Read on until each key has a record."""
        await self.until(lambda: all(self.records(key) for key in keys), "records of every key")


async def until(condition: Callable[[], Awaitable[T]], what: str) -> T:
    """What the condition returns once that is true."""
    end = time.monotonic() + PATIENCE_S
    while not (found := await condition()):
        assert time.monotonic() < end, f"{what}: not within {PATIENCE_S} s"
        await asyncio.sleep(0.05)
    return found
