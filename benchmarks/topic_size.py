"""What `carts` takes after an hour of changes: records a cart and bytes on disk, as it was and as it is."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from rich.console import Console
from rich.table import Table

from carts.fold import fold
from carts.operations import Add, Change, Item
from carts.state import State
from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA
from runtime.kafka.ranges import RangeReader
from runtime.settings import KafkaSettings
from topics.apply import apply
from topics.codec import encode_cart
from topics.headers import Headers, cart_headers
from topics.partitioner import partition_of
from topics.records import cart_record
from topics.registry import CARTS, PARTITIONS, TopicSpec

RATE_PER_S = 500
SHOP_CARTS = 20_000
FILLED = 1
"""Partitions that are made, of 16: the others would be alike, and what one takes does not depend on them."""
HOUR_S = 3600
BATCH = 2
"""States in a batch: at this rate a partition has 31 changes a second, and a batch is closed within 50 ms."""
BATCH_BYTES = 256 << 10
PRODUCTS = 5000
LINES = 5
"""Products that a cart's changes are of."""
CLEANER_PAUSE_MS = 1000
"""Between two rounds of Kafka's cleaner; its default of 15 s would only make this take longer."""
CLEANER_BUFFER_BYTES = 16 << 20
QUIET_ROUNDS = 10
POLL_S = 1.0
MINUTE_MS = 60_000

BEFORE = msgspec.structs.replace(
    CARTS,
    name="carts-before",
    compression=None,
    settings={
        "min.compaction.lag.ms": str(60 * MINUTE_MS),
        "min.cleanable.dirty.ratio": "0.2",
        "segment.bytes": str(128 << 20),
    },
)
"""The topic as it was: what its settings are compared with."""

AFTER = msgspec.structs.replace(
    CARTS,
    name="carts-after",
    # The broker's clock cannot be spread over an hour; the cleaner goes by the records' time, whoever set it.
    settings={**CARTS.settings, "message.timestamp.type": "CreateTime"},
)


class StateSent(msgspec.Struct, frozen=True):
    """A record of `carts`, and its time in milliseconds."""

    at_ms: int
    key: bytes
    value: bytes
    headers: Headers


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """A topic's partitions together."""

    records: int
    carts: int
    bytes_on_disk: int

    @property
    def records_a_cart(self) -> float:
        """How many records a reader from the beginning gets of each cart."""
        return self.records / self.carts


def run(folder: Path, console: Console) -> dict[str, Any]:
    """The topic as it was and as it is, each after the same hour."""
    sizes: dict[str, Size] = {}
    with EmbeddedStack(folder, only=(KAFKA,)) as stack:
        asyncio.run(_hasten_cleaner(stack.urls.kafka_bootstrap))
        for spec in (BEFORE, AFTER):
            sizes[spec.name] = asyncio.run(_measure(stack, spec, console))
    console.print(_table(sizes))
    return {name: msgspec.to_builtins(size) for name, size in sizes.items()}


async def _measure(stack: EmbeddedStack, spec: TopicSpec, console: Console) -> Size:
    """What the cleaner has left, of the new topic once everything is old enough, of the old one at once."""
    kafka = KafkaSettings(kafka_bootstrap=stack.urls.kafka_bootstrap)
    await apply(kafka, partitions=FILLED, allow_single=True, specs=[spec])
    logs = stack.settings.data_dir / "kafka" / "data"
    ends_at_ms = time.time_ns() // 1_000_000
    began = time.perf_counter()
    async with _producer(kafka, spec) as producer:
        sent = await asyncio.gather(
            *(
                _send(producer, spec.name, partition, _states(partition, ends_at_ms))
                for partition in range(FILLED)
            )
        )
    console.print(f"{spec.name}: {sum(sent)} states written in {time.perf_counter() - began:.0f} s")
    if spec is AFTER:
        # Nothing is written any more: the segment that is open stays as it is.
        lag_ms = int(spec.settings["min.compaction.lag.ms"])
        await asyncio.sleep(max(0.0, (ends_at_ms + lag_ms) / 1000 - time.time()))
    await _until_quiet(logs, spec)
    return await _size(kafka, logs, spec)


def _states(partition: int, ends_at_ms: int) -> Iterator[StateSent]:
    """An hour of changes of a partition's carts, at random, the last one at `ends_at_ms`."""
    chance = random.Random(partition)
    cart_ids = list(islice(_ids(partition, chance), SHOP_CARTS // PARTITIONS))
    products = {cart_id: [f"sku-{chance.randrange(PRODUCTS)}" for _ in range(LINES)] for cart_id in cart_ids}
    states: dict[str, State | None] = dict.fromkeys(cart_ids)
    count = RATE_PER_S * HOUR_S // PARTITIONS
    for i in range(count):
        at_ms = ends_at_ms - (count - 1 - i) * HOUR_S * 1000 // count
        cart_id = chance.choice(cart_ids)
        change = _change(cart_id, chance.choice(products[cart_id]), states[cart_id], at_ms, chance)
        state = states[cart_id] = fold(states[cart_id], change).state
        assert state is not None
        yield StateSent(
            at_ms,
            cart_id.encode(),
            encode_cart(cart_record(cart_id, state)),
            cart_headers(cart_id, state.version, (partition, i)),
        )


def _ids(partition: int, chance: random.Random) -> Iterator[str]:
    while True:
        cart_id = f"guest:{_uuid(chance)}"
        if partition_of(cart_id.encode(), PARTITIONS) == partition:
            yield cart_id


def _change(cart_id: str, product_id: str, state: State | None, at_ms: int, chance: random.Random) -> Change:
    version = 2 * (at_ms * 1000 + chance.randrange(1000))
    return Change(
        cart_id=cart_id,
        version=version,
        op_id=_uuid(chance),
        fingerprint=f"{chance.getrandbits(64):016x}",
        delta=(Add(product_id, 1, 1999, "EUR", Item(product_id), {"title": "Blue shirt", "size": "M"}),),
        previous_version=state.version_number if state is not None else 0,
        born=state.born if state is not None else version,
        cause="items",
    )


def _uuid(chance: random.Random) -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))


@asynccontextmanager
async def _producer(kafka: KafkaSettings, spec: TopicSpec) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **kafka.client_options(), acks="all", compression_type=spec.compression, max_batch_size=BATCH_BYTES
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _send(producer: AIOKafkaProducer, topic: str, partition: int, states: Iterator[StateSent]) -> int:
    """Write the states in batches as small as those of a shop at work; returns how many."""
    sent = 0
    while some := list(islice(states, BATCH)):
        batch = producer.create_batch()
        for state in some:
            taken = batch.append(
                key=state.key, value=state.value, timestamp=state.at_ms, headers=state.headers
            )
            assert taken is not None, "a batch is too small for its states"
        batch.close()
        await (await producer.send_batch(batch, topic, partition=partition))
        sent += len(some)
    return sent


async def _hasten_cleaner(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (broker,) = (await admin.describe_cluster())["brokers"]
        # The cleaner starts again with it, and has not let go of its buffer by then: the heap is small.
        settings = {
            "log.cleaner.backoff.ms": str(CLEANER_PAUSE_MS),
            "log.cleaner.dedupe.buffer.size": str(CLEANER_BUFFER_BYTES),
        }
        node = str(broker["node_id"])
        await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, node, settings)])
    finally:
        await admin.close()


async def _until_quiet(logs: Path, spec: TopicSpec) -> None:
    """Returns once the cleaner has left the topic alone for some rounds."""
    seen, rounds = -1, 0
    while rounds < QUIET_ROUNDS:
        await asyncio.sleep(POLL_S)
        now = _bytes(logs, spec)
        rounds = rounds + 1 if now == seen else 0
        seen = now


async def _size(kafka: KafkaSettings, logs: Path, spec: TopicSpec) -> Size:
    places = [TopicPartition(spec.name, partition) for partition in range(FILLED)]
    records, keys = 0, set[bytes]()
    async with RangeReader(kafka) as reader:
        async for some in reader.read(await reader.bounds_of(places)):
            records += len(some)
            keys.update(record.key for record in some)
    return Size(records=records, carts=len(keys), bytes_on_disk=_bytes(logs, spec))


def _bytes(logs: Path, spec: TopicSpec) -> int:
    """What the segments take; those that wait to be deleted do not count."""
    return sum(
        segment.stat().st_size
        for partition in range(FILLED)
        for segment in (logs / f"{spec.name}-{partition}").glob("*.log")
    )


def _table(sizes: dict[str, Size]) -> Table:
    title = f"{RATE_PER_S} changes/s over {SHOP_CARTS} carts for an hour, {FILLED} of {PARTITIONS} partitions"
    table = Table("", "records", "records a cart", "MB", "MB in all partitions", title=title)
    for name, size in sizes.items():
        megabytes = size.bytes_on_disk / 1e6
        whole = f"{megabytes * PARTITIONS / FILLED:.0f}"
        table.add_row(name, str(size.records), f"{size.records_a_cart:.2f}", f"{megabytes:.1f}", whole)
    return table
