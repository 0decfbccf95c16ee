"""The compaction agent as a process on the real broker, and what stands in its topics.

The topics are the product's own and stay between tests: every test has carts of its own.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from carts.operations import Add, Change, Item, Step
from runtime.settings import KafkaSettings
from tests.support.processes import AgentProcess, compaction_process
from tests.support.topics import TopicReader, reading_from_now
from topics.codec import decode_cart, encode_change
from topics.headers import change_headers
from topics.partitioner import partition_of
from topics.records import CartRecord
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, PARTITIONS, PURGE_FLOORS


class Topics:
    """Writes `cart-changed`, watches `carts` and `dead-letters` from the start of the test on."""

    def __init__(self, producer: AIOKafkaProducer, reader: TopicReader) -> None:
        self._producer = producer
        self._reader = reader
        self.seen = reader.seen

    async def change(self, *changes: Change) -> None:
        """Publish changes as the gateway does, and wait for the acknowledgements."""
        await asyncio.gather(
            *[
                await self._producer.send(
                    CART_CHANGED.name,
                    encode_change(change),
                    key=change.cart_id.encode(),
                    partition=partition_of(change.cart_id.encode(), PARTITIONS),
                    headers=change_headers(change.cart_id, change.version, change.op_id),
                )
                for change in changes
            ]
        )

    async def raw(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        partition: int,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Publish any record to any partition."""
        await self._producer.send_and_wait(topic, value, key=key, partition=partition, headers=list(headers))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read on until the condition holds for what was seen."""
        await self._reader.until(condition)

    async def until_counted(self, cart_id: str, n: int) -> CartRecord:
        """Read on until the newest record of the cart has n operations."""
        await self.until(lambda: (cart := self.cart(cart_id)) is not None and cart.state.operation_count >= n)
        cart = self.cart(cart_id)
        assert cart is not None
        return cart

    def records(self, cart_id: str) -> list[ConsumerRecord]:
        """The `carts` records of the cart, in order."""
        return self._reader.records(cart_id)

    def cart(self, cart_id: str) -> CartRecord | None:
        """What the newest record says; None without one, or for a tombstone."""
        records = self.records(cart_id)
        return decode_cart(records[-1].value) if records and records[-1].value is not None else None

    def floors(self, partition: int) -> list[ConsumerRecord]:
        """The purge floors of the partition, in order."""
        return [record for record in self._reader.seen[PURGE_FLOORS.name] if record.partition == partition]

    def dead_letters(self, key: bytes) -> list[ConsumerRecord]:
        """The dead letters with the key."""
        return self._reader.records(key, DEAD_LETTERS.name)


class Shopper:
    """Makes changes of one cart, with rising versions."""

    def __init__(self, cart_id: str) -> None:
        self.cart_id = cart_id
        self._born = 2 * int(time.time() * 1e6)
        self._numbers = itertools.count()

    def change(self, *steps: Step, seconds: float = 0.0, op_id: str | None = None) -> Change:
        """The next change, by default one more piece; `seconds` moves its version."""
        number = next(self._numbers)
        v = self._born + 2 * (number + int(seconds * 1_000_000))
        delta = steps or (Add("sku-1", 1, 500, "EUR", Item("sku-1")),)
        return Change(
            cart_id=self.cart_id,
            version=v,
            op_id=op_id or f"op-{number}",
            delta=delta,
            previous_version=None,
            born=self._born,
        )


@pytest.fixture
async def topics(kafka: KafkaSettings) -> AsyncIterator[Topics]:
    """The topics, from now on."""
    async with (
        AIOKafkaProducer(**kafka.client_options(), acks="all") as producer,
        reading_from_now(kafka, CARTS.name, PURGE_FLOORS.name, DEAD_LETTERS.name) as reader,
    ):
        yield Topics(producer, reader)


@pytest.fixture
def workers(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Callable[[str], AgentProcess]]:
    """Makes compaction agents by name; whatever still runs at the end is killed."""
    made: dict[str, AgentProcess] = {}

    def make(name: str) -> AgentProcess:
        if name not in made:
            made[name] = compaction_process(kafka.kafka_bootstrap, tmp_path, name)
        return made[name]

    yield make
    for worker in made.values():
        worker.kill()


@pytest.fixture
def new_shopper() -> Callable[[], Shopper]:
    """Makes shoppers, each with a cart of the test's own."""
    mark = uuid4().hex[:12]
    numbers = itertools.count()
    return lambda: Shopper(f"user:{mark}-{next(numbers)}")
