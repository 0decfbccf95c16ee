"""The history sink as a process: every operation of every cart is written once, whatever dies."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import psycopg
import pytest

from carts.operations import Change, Erase
from carts.view import time_of
from devstack.embedded import EmbeddedStack
from devstack.settings import POSTGRES
from runtime.settings import KafkaSettings
from sinks.history.batch import batch_of
from store.postgres.roles import Role
from store.postgres.session import Address
from tests.sinks.cart_records import add, new_cart_id
from tests.support.processes import AgentProcess, sink_process
from tests.support.roles import as_role
from tests.support.topics import reading_from_now
from tests.support.waiting import until
from topics.codec import encode_change
from topics.publishing import Publisher
from topics.registry import DEAD_LETTERS, PARTITIONS

KILLS = 3


@pytest.fixture
async def sink(kafka: KafkaSettings, database: str, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """The process of the history sink, not started yet; killed at the end."""
    process = sink_process(
        "history",
        {
            "CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap,
            "CARTSTREAM_POSTGRES_URL": as_role(Address(database), Role.HISTORY),
            "CARTSTREAM_SESSION_TIMEOUT_S": "6",
        },
        tmp_path,
    )
    yield process
    process.kill()


async def rows(url: str, carts: Iterable[str]) -> list[tuple[str, int, str]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(
            "SELECT cart_id, v, op_id FROM cart_changes WHERE cart_id = ANY(%s) ORDER BY cart_id, place",
            [list(carts)],
        )
        return await cursor.fetchall()


def keys(changes: Iterable[Change]) -> list[tuple[str, int, str]]:
    return [(each.cart_id, each.version, each.op_id) for each in sorted(changes, key=lambda one: one.cart_id)]


async def all_written(url: str, changes: list[Change]) -> None:
    """Wait until the history is these operations, each cart's in this order."""
    carts = {each.cart_id for each in changes}

    async def written() -> bool:
        return await rows(url, carts) == keys(changes)

    await until(written, f"{len(changes)} operations")


async def publish(kafka: KafkaSettings, changes: Iterable[Change]) -> None:
    async with Publisher(kafka) as publisher:
        await publisher.publish_changes(list(changes), PARTITIONS, source="/cartstream/tests")


async def test_what_carts_did_is_written_once_in_the_order_of_the_records(
    sink: AgentProcess, kafka: KafkaSettings, database: str
) -> None:
    carts = [new_cart_id() for _ in range(20)]
    changes = [add(cart_id, number) for number in (2, 1, 3) for cart_id in carts]
    await publish(kafka, changes)
    await sink.start()
    await all_written(database, changes)
    await publish(kafka, changes)  # as a sweeper would, or a dead letter that is replayed
    more = [add(cart_id, 4) for cart_id in carts]
    await publish(kafka, more)
    await all_written(database, [*changes, *more])

    async def skipped() -> bool:
        return await sink.metric("cartstream_history_sink_skipped_total") >= len(changes)

    await until(skipped, "what was skipped is counted, which is after it is written")
    assert await sink.stop() == 0
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute(
            "SELECT day, operation -> 0 ->> 'line_id' FROM cart_changes WHERE cart_id = %s AND v = %s",
            [carts[0], changes[0].version],
        )
        time = time_of(changes[0].version)
        assert time is not None
        assert await cursor.fetchone() == (time.date(), "product-2")


@pytest.mark.drill
async def test_killed_again_and_again_it_loses_nothing_and_writes_nothing_twice(
    sink: AgentProcess, kafka: KafkaSettings, database: str
) -> None:
    sent: list[Change] = []
    killed = asyncio.Event()

    async def load() -> None:
        carts = [new_cart_id() for _ in range(50)]
        number = 0
        while not killed.is_set():
            number += 1
            some = [add(cart_id, number) for cart_id in carts]
            await publish(kafka, some)
            sent.extend(some)

    async def has_written_since(start: int) -> bool:
        return await sink.metric("cartstream_history_sink_changes_total") > start

    loading = asyncio.create_task(load())
    try:
        for _ in range(KILLS):
            await sink.start()
            await until(lambda: has_written_since(0), "written by this process")
            sink.kill()
        await sink.start()
    finally:
        killed.set()
        await loading
    await all_written(database, sent)
    assert await sink.stop() == 0


@pytest.mark.embedded
async def test_a_postgres_that_is_killed_midway_loses_nothing(
    sink: AgentProcess, kafka: KafkaSettings, database: str, stack: EmbeddedStack
) -> None:
    carts = [new_cart_id() for _ in range(200)]
    batches = [[add(cart_id, number) for cart_id in carts] for number in (1, 2, 3)]
    await sink.start()
    server = stack.component(POSTGRES)
    await publish(kafka, batches[0])
    await asyncio.to_thread(server.kill, signal.SIGKILL)
    try:
        await publish(kafka, batches[1])
    finally:
        await asyncio.to_thread(server.start)
    await publish(kafka, batches[2])
    await all_written(database, [each for batch in batches for each in batch])


async def test_an_erasure_takes_what_was_before_it_and_what_arrives_late(
    sink: AgentProcess, kafka: KafkaSettings, database: str
) -> None:
    cart_id, other = new_cart_id(), new_cart_id()
    first, second, third = (add(cart_id, number) for number in (1, 2, 3))
    erasure = Change(cart_id=cart_id, version=second.version + 1, op_id="!erase/1", delta=(Erase(),))
    await sink.start()
    await publish(kafka, [first, add(other, 1)])
    await all_written(database, [first, add(other, 1)])
    await publish(kafka, [third, erasure, second, first])
    await all_written(database, [third, erasure, add(other, 1)])


async def test_poison_goes_to_the_dead_letters_and_the_others_are_written(
    sink: AgentProcess, kafka: KafkaSettings, database: str
) -> None:
    changes = [add(new_cart_id(), 1) for _ in range(20)]
    nul = add(new_cart_id(), 1, title="a\0b")
    async with reading_from_now(kafka, DEAD_LETTERS.name) as dead_letters:
        await publish(kafka, [*changes[:10], nul, *changes[10:]])
        await sink.start()
        await all_written(database, changes)
        assert (await dead_letters.first(nul.cart_id)).value == encode_change(nul)
    assert await rows(database, [nul.cart_id]) == []


def test_of_several_erasures_of_a_cart_the_last_one_counts() -> None:
    changes = [
        Change(cart_id="user:b", version=version, op_id=f"!erase/{version}", delta=(Erase(),))
        for version in (5, 9, 7)
    ]
    batch = batch_of([*changes, add("user:a", 1)])
    assert batch.erased == [("user:b", 9)]
    assert [each.cart_id for each in batch.changes] == ["user:a", "user:b", "user:b", "user:b"]
