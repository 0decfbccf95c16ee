"""The compaction agent as a process on the real broker, and what stands in its topics.

The topics are the product's own and stay between tests: every test has carts of its own.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from carts.operations import Add, Change, Item, Step
from runtime.failstop import EXIT_RESTART
from runtime.settings import KafkaSettings
from topics.apply import apply
from topics.codec import decode_cart, encode_change
from topics.headers import change_headers
from topics.partitioner import partition_of
from topics.records import CartRecord
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, PARTITIONS

PATIENCE_S = 90.0
SESSION_TIMEOUT_S = "6"


class Worker:
    """One `cartstream streams compaction` process."""

    def __init__(self, environment: dict[str, str], folder: Path, name: str) -> None:
        self._ready = folder / f"{name}.ready"
        self._log = folder / f"{name}.log"
        self._environment = {
            **environment,
            "CARTSTREAM_DATADIR": str(folder / name),
            "CARTSTREAM_READY_FILE": str(self._ready),
            "CARTSTREAM_COMMIT_INTERVAL_S": "0.2",
            "CARTSTREAM_SESSION_TIMEOUT_S": SESSION_TIMEOUT_S,
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, **settings: str) -> None:
        """Start it and wait until it has its partitions and its table."""
        self._ready.unlink(missing_ok=True)
        await asyncio.to_thread(self._spawn, settings)
        until = time.monotonic() + PATIENCE_S
        while not self._ready.exists():
            assert self._process is not None
            exit_code = self._process.poll()
            if exit_code == EXIT_RESTART:  # as its supervisor would: a starved worker takes itself for frozen
                await asyncio.to_thread(self._spawn, settings)
            assert exit_code in {None, EXIT_RESTART}, self.log
            assert time.monotonic() < until, self.log
            await asyncio.sleep(0.05)

    def _spawn(self, settings: dict[str, str]) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli", "streams", "compaction"],
                env={**self._environment, **settings},
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 60)

    @property
    def log(self) -> str:
        """What it has said lately."""
        return self._log.read_text()[-4000:]


class Topics:
    """Writes `cart-changed`, watches `carts` and `dead-letters` from the start of the test on."""

    def __init__(self, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self._producer = producer
        self._consumer = consumer
        self.seen: dict[str, list[ConsumerRecord]] = {CARTS.name: [], DEAD_LETTERS.name: []}

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
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"not within {PATIENCE_S} s"
            for tp, records in (await self._consumer.getmany(timeout_ms=200)).items():
                self.seen[tp.topic] += records

    async def until_counted(self, cart_id: str, n: int) -> CartRecord:
        """Read on until the newest record of the cart has n operations."""
        await self.until(lambda: (cart := self.cart(cart_id)) is not None and cart.state.operation_count >= n)
        cart = self.cart(cart_id)
        assert cart is not None
        return cart

    def records(self, cart_id: str) -> list[ConsumerRecord]:
        """The `carts` records of the cart, in order."""
        return [record for record in self.seen[CARTS.name] if record.key == cart_id.encode()]

    def cart(self, cart_id: str) -> CartRecord | None:
        """What the newest record says; None without one, or for a tombstone."""
        records = self.records(cart_id)
        return decode_cart(records[-1].value) if records and records[-1].value is not None else None

    def dead_letters(self, key: bytes) -> list[ConsumerRecord]:
        """The dead letters with the key."""
        return [record for record in self.seen[DEAD_LETTERS.name] if record.key == key]


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


@pytest.fixture(scope="session")
def topics_ready(kafka_bootstrap: str) -> str:
    """The broker's address, once the product's topics exist."""
    kafka = KafkaSettings(kafka_bootstrap=kafka_bootstrap)
    asyncio.run(apply(kafka, partitions=PARTITIONS, allow_single=True))
    return kafka_bootstrap


@pytest.fixture
async def topics(topics_ready: str) -> AsyncIterator[Topics]:
    """The topics, from now on."""
    options = {"bootstrap_servers": topics_ready}
    watched = [
        TopicPartition(name, partition)
        for name in (CARTS.name, DEAD_LETTERS.name)
        for partition in range(PARTITIONS)
    ]
    async with AIOKafkaProducer(**options, acks="all") as producer, AIOKafkaConsumer(**options) as consumer:
        consumer.assign(watched)
        for tp, end in (await consumer.end_offsets(watched)).items():
            consumer.seek(tp, end)
        yield Topics(producer, consumer)


@pytest.fixture
async def workers(topics_ready: str, tmp_path: Path) -> AsyncIterator[Callable[[str], Worker]]:
    """Makes workers by name; whatever still runs at the end is killed."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CARTSTREAM_")},
        "CARTSTREAM_KAFKA_BOOTSTRAP": topics_ready,
    }
    made: dict[str, Worker] = {}

    def make(name: str) -> Worker:
        return made.setdefault(name, Worker(environment, tmp_path, name))

    yield make
    for worker in made.values():
        await worker.kill()


@pytest.fixture
def new_shopper() -> Callable[[], Shopper]:
    """Makes shoppers, each with a cart of the test's own."""
    mark = uuid4().hex[:12]
    numbers = itertools.count()
    return lambda: Shopper(f"user:{mark}-{next(numbers)}")
