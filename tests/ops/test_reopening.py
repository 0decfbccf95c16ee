"""Carts that could not be moved: their generation is opened again, whatever else fails."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from unittest.mock import AsyncMock

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from devstack.embedded import EmbeddedStack
from devstack.settings import REDIS
from ops.reopening import AlreadyMoved
from ops.repartition import repartition, take_back
from ops.settings import OpsSettings
from runtime.settings import KafkaSettings
from store.redis import CartStore, Layout, PipelinedClient
from tests.ops.conftest import STACK
from tests.ops.states import Changes
from tests.support.outages import stopped
from tests.support.waiting import until
from topics.cluster import Cluster, cluster
from topics.errors import TopicsRefusedError
from topics.generations import Generation, close, generations, make, open_, remaining, remove
from topics.groups import COMPACTION
from topics.names import GENERATION
from topics.registry import CART_CHANGED

OWN = Generation(GENERATION, 16, 1, is_open=True)
NEXT = GENERATION + 1


@pytest.fixture
def settings(kafka: KafkaSettings, redis_url: str, database: str) -> OpsSettings:
    """Of a shop without processes and carts."""
    return OpsSettings(kafka_bootstrap=kafka.kafka_bootstrap, redis_url=redis_url, postgres_url=database)


@pytest.fixture
async def connection(kafka: KafkaSettings) -> AsyncIterator[Cluster]:
    """To a cluster that has the first generation alone, open, and is left so."""
    async with cluster(kafka) as connection:
        yield connection
        await open_(connection, OWN)
        await remove(connection, NEXT)


async def closed_in_redis(settings: OpsSettings) -> set[int]:
    async with PipelinedClient(settings, name="test") as client:
        return await CartStore(client, Layout(settings.partitions)).closed_partitions()


async def test_a_next_generation_that_cannot_be_deleted_keeps_no_writes_waiting(
    settings: OpsSettings, connection: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_connection: Cluster, names: Sequence[str]) -> None:
        raise TopicsRefusedError(f"Kafka refused to delete topic {names[0]}")

    said: list[str] = []
    await make(connection, NEXT, 2, 1)
    await close(connection, OWN)
    async with PipelinedClient(settings, name="test") as client:
        await CartStore(client, Layout(settings.partitions)).close_partitions()
    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "delete", refused)
        await take_back(settings, said.append)
    assert (await generations(connection))[GENERATION].is_open
    assert await closed_in_redis(settings) == set()
    assert "refused to delete" in said[-1]
    assert "writes go on" in said[-1]
    await take_back(settings, said.append)
    assert await remaining(connection, NEXT) == []


async def test_nothing_is_opened_or_deleted_once_the_next_generation_is_open(
    settings: OpsSettings, connection: Cluster
) -> None:
    await make(connection, NEXT, 2, 1)
    await close(connection, OWN)
    await open_(connection, Generation(NEXT, 2, 1, is_open=False))
    with pytest.raises(AlreadyMoved):
        await take_back(settings, print)
    found = await generations(connection)
    assert (found[GENERATION].is_open, found[NEXT].is_open) == (False, True)


@pytest.mark.embedded
@pytest.mark.parametrize("redis_place", [STACK], indirect=True)
async def test_a_redis_that_is_away_while_writes_wait_is_waited_for(
    settings: OpsSettings,
    connection: Cluster,
    changes: Changes,
    stack: EmbeddedStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Compaction has been there, and does not fold this change, as if it had just ended: writes wait until
    # somebody presses Ctrl-C.
    monkeypatch.setattr("ops.repartition._Switch._require_agents", AsyncMock())
    await changes.raw("a-cart", b"unreadable", partition=0)
    async with AIOKafkaConsumer(
        **settings.client_options(), group_id=COMPACTION, enable_auto_commit=False
    ) as consumer:
        place = TopicPartition(CART_CHANGED.name, 0)
        consumer.assign([place])
        await consumer.commit({place: 0})
    said: list[str] = []

    def has_said(what: str) -> bool:
        return any(what in each for each in said)

    moving = asyncio.create_task(
        repartition(
            settings, 2, pause_limit_s=300, ready_limit_s=1, say=said.append, bars=lambda *_: lambda _: None
        )
    )
    try:
        await until(lambda: has_said("`cart-changed` is closed"), "the generation closed")
        with stopped(stack, REDIS):
            moving.cancel()
            await until(lambda: has_said("tried again"), "Redis missed")
            assert not moving.done()
        with pytest.raises(asyncio.CancelledError):
            await moving
    finally:
        moving.cancel()
    assert (await generations(connection))[GENERATION].is_open
    assert await closed_in_redis(settings) == set()
    assert await remaining(connection, NEXT) == []
