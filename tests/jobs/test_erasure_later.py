"""An hour after an erasure, and after all that can happen to a store by then, the certificate is true.

Kafka is made to remove old records at once, the cart's own clock is moved by writing to it as of an hour
later; then every way in which data comes back is gone: replay, restore, rebuild, recovery.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import ConsumerRecord
from msgspec.structs import replace

from tests.jobs.conftest import SystemUnderTest
from tests.jobs.test_erasure import SECRET, erase, is_clean, jobs, raw, write
from tests.ops.command_line import CommandLine, environment
from tests.support.processes import AgentProcess
from tests.support.topics import ends_of
from tests.support.waiting import until
from topics.apply import apply
from topics.codec import decode_change
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, CARTS, DEAD_LETTERS, PARTITIONS

pytestmark = pytest.mark.drill

__all__ = ["jobs", "raw"]

AT_ONCE = {
    "segment.ms": "500",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
}
"""Settings with which Kafka compacts within seconds what it else compacts within hours."""
AN_HOUR = 1 / 24
"""In days."""


@pytest.fixture
def command_line(system: SystemUnderTest) -> CommandLine:
    """Somebody at the command line of the product."""
    urls = system.urls
    return CommandLine(environment(urls.kafka_bootstrap, urls.redis, urls.postgres))


@asynccontextmanager
async def compacting_at_once(system: SystemUnderTest) -> AsyncIterator[None]:
    """Meanwhile Kafka compacts `carts` as soon as it can."""
    await apply(system.kafka, allow_single=True, specs=[replace(CARTS, settings=CARTS.settings | AT_ONCE)])
    try:
        yield
    finally:
        usual = CARTS.settings | {"segment.ms": "604800000"}
        await apply(system.kafka, allow_single=True, specs=[replace(CARTS, settings=usual)])


async def remove_all(system: SystemUnderTest, topic: str) -> None:
    """What retention does to the records of a topic, one day."""
    ends = await ends_of(system.kafka, topic)
    admin = AIOKafkaAdminClient(**system.kafka.client_options())
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(topic, partition): RecordsToDelete(end) for partition, end in ends.items()}
        )
    finally:
        await admin.close()


async def misplace(system: SystemUnderTest, record: ConsumerRecord) -> None:
    """Write a record where its cart is not, as a client with another partitioner does."""
    wrong = (partition_of(record.key, PARTITIONS) + 1) % PARTITIONS
    async with AIOKafkaProducer(**system.kafka.client_options()) as producer:
        await producer.send_and_wait(
            CART_CHANGED.name, record.value, record.key, wrong, headers=list(record.headers)
        )


async def in_topic(system: SystemUnderTest, topic: str, cart_id: str) -> bool:
    """Whether a topic has anything personal of the cart."""
    records = await system.records(topic, cart_id)
    own = [record.value or b"" for record in records if record.key == cart_id.encode()]
    return any(SECRET.encode() in value for value in own)


async def write_later(system: SystemUnderTest, cart_id: str, product: str) -> None:
    """An add as of an hour later, in the row."""
    change = system.change(cart_id, days=-AN_HOUR, product=product)
    await system.publish(change)

    async def is_in_the_row() -> bool:
        row = await system.row(cart_id)
        return row is not None and row.v >= change.version

    await until(is_in_the_row, f"{product} in the row")


async def certificate_is_true(command_line: CommandLine, cart_id: str) -> list[dict[str, Any]]:
    """No store has anything of before; what Kafka has still to remove."""
    proof = await command_line.run("verify", "--erased", cart_id, "--json")
    assert proof.status == 0, proof.output
    (found,) = proof.json
    assert not any(place["found"] for place in found["places"]), found
    waiting: list[dict[str, Any]] = found["waiting"]
    return waiting


@pytest.mark.timeout(300)
async def test_an_hour_later_no_store_and_no_topic_brings_an_erased_cart_back(
    system: SystemUnderTest, jobs: AgentProcess, raw: redis.asyncio.Redis, command_line: CommandLine
) -> None:
    assert jobs.is_ready()
    cart_id = f"user:{uuid4().hex}"
    await write(system, cart_id)
    await until(lambda: system.row(cart_id), "row")
    # There may be more than one: its gateway sends it again if Kafka was slow to acknowledge it.
    change, *_ = [
        record
        for record in await system.records(CART_CHANGED.name, cart_id)
        if record.key == cart_id.encode()
    ]
    await misplace(system, change)
    await until(lambda: system.dead_letters(cart_id), "a dead letter with what is to be erased")
    assert await in_topic(system, CARTS.name, cart_id)
    assert not await is_clean(raw, cart_id)
    await erase(system, cart_id)
    waiting = await certificate_is_true(command_line, cart_id)
    assert {each["topic"] for each in waiting} >= {CART_CHANGED.name, DEAD_LETTERS.name}

    # The erasure leaves the window of the cart, for the shopper has come back an hour later.
    await write_later(system, cart_id, "later")
    await certificate_is_true(command_line, cart_id)

    async with compacting_at_once(system):

        async def is_compacted() -> bool:
            # A segment ends when something is written after its time.
            await write_later(system, cart_id, "tick")
            return not await in_topic(system, CARTS.name, cart_id)

        await until(is_compacted, "`carts` compacted", every_s=1.0)
    await remove_all(system, CART_CHANGED.name)
    assert not await in_topic(system, CART_CHANGED.name, cart_id)
    waiting = await certificate_is_true(command_line, cart_id)
    assert [each["topic"] for each in waiting] == [DEAD_LETTERS.name]

    # The dead letter still has it. Its replay is refused; somebody writes it back all the same.
    replayed = await command_line.run("dlq", "replay", "--all", "--topic", CART_CHANGED.name)
    assert "refused" in replayed.output
    (letter,) = await system.dead_letters(cart_id)
    await system.publish(decode_change(letter.value))
    await write_later(system, cart_id, "after-the-replay")
    await certificate_is_true(command_line, cart_id)

    # Redis is wiped and restored, the row is lost and written again, compaction recovers its table.
    await raw.flushall()
    await until(lambda: is_clean(raw, cart_id), "restored without what was erased")
    async with await system.database() as connection:
        await connection.execute("DELETE FROM carts WHERE cart_id = %s", (cart_id,))
    assert (await command_line.run("rebuild")).status == 0
    assert await system.row(cart_id) is not None
    await until(system.redis_is_complete, "Redis restored")
    system.stack.restart("compaction")
    await write_later(system, cart_id, "after-the-recovery")
    await certificate_is_true(command_line, cart_id)
    assert await is_clean(raw, cart_id)
    assert set(await system.lines(cart_id)) == {"later", "tick", "after-the-replay", "after-the-recovery"}

    # The dead letters go last, by their retention; then Kafka has nothing of before either.
    await remove_all(system, DEAD_LETTERS.name)
    await remove_all(system, CART_CHANGED.name)
    assert await certificate_is_true(command_line, cart_id) == []
