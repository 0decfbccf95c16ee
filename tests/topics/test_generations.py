"""Generations of the topics of carts on a real broker: made closed, opened, closed, removed."""

from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from runtime.kafka.ranges import RangeReader
from runtime.settings import KafkaSettings
from topics.cluster import Cluster, cluster
from topics.errors import TopicsRefusedError
from topics.generations import Generation, close, generations, make, open_, remaining, remove
from topics.plan import CLOSED, CLOSED_SETTING
from topics.registry import CART_CHANGED, CARTS, in_generation

NUMBER = 77
CHANGED = in_generation(CART_CHANGED, NUMBER).name


async def is_taken(kafka: KafkaSettings, topic: str) -> bool:
    """Whether the broker takes a record."""
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        try:
            await producer.send_and_wait(topic, b"1", b"a", partition=0)
        except MessageSizeTooLargeError:
            return False
    return True


async def test_a_generation_is_made_closed_and_takes_changes_only_while_it_is_open(
    kafka: KafkaSettings,
) -> None:
    made = Generation(NUMBER, 2, 1, is_open=False)
    async with cluster(kafka) as connection, RangeReader(kafka) as reader:
        try:
            assert (await generations(connection))[1].is_open
            await make(connection, NUMBER, 2, 1)
            assert (await generations(connection))[NUMBER] == made
            assert await reader.setting(CHANGED, CLOSED_SETTING) == CLOSED
            assert not await is_taken(kafka, CHANGED)
            assert await is_taken(kafka, in_generation(CARTS, NUMBER).name)
            await open_(connection, made)
            assert (await generations(connection))[NUMBER].is_open
            assert await is_taken(kafka, CHANGED)
            await close(connection, made)
            assert not await is_taken(kafka, CHANGED)
        finally:
            await remove(connection, NUMBER)
        assert NUMBER not in await generations(connection)
        await remove(connection, NUMBER)


async def test_a_generation_without_carts_is_not_open(kafka: KafkaSettings) -> None:
    # As a broker makes it that creates topics on its own, when a gateway of that generation asks for it.
    async with cluster(kafka) as connection:
        try:
            await connection.create([in_generation(CART_CHANGED, NUMBER)], partitions=2, replicas=1)
            await connection.until_led([in_generation(CART_CHANGED, NUMBER)], partitions=2, seconds=30)
            assert (await generations(connection))[NUMBER] == Generation(NUMBER, 2, 1, is_open=False)
            assert await remaining(connection, NUMBER) == [CHANGED]
        finally:
            await remove(connection, NUMBER)
        assert await remaining(connection, NUMBER) == []


async def test_a_generation_of_which_some_topics_are_deleted_is_found_again(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, refusal = Cluster.delete, TopicsRefusedError("one of them")

    async def deletes_one(connection: Cluster, names: Sequence[str]) -> None:
        await delete(connection, names[:1])
        raise refusal

    async with cluster(kafka) as connection:
        try:
            await make(connection, NUMBER, 1, 1)
            there = await remaining(connection, NUMBER)
            for _ in there[1:]:
                with monkeypatch.context() as patched:
                    patched.setattr(Cluster, "delete", deletes_one)
                    with pytest.raises(TopicsRefusedError, match="one of them"):
                        await remove(connection, NUMBER)
                assert NUMBER in await generations(connection)
        finally:
            await remove(connection, NUMBER)
        assert await remaining(connection, NUMBER) == []


async def test_topics_that_come_back_are_not_waited_for_without_end(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deleted(_connection: Cluster, _names: Sequence[str]) -> None:
        """And created again by somebody else."""

    async with cluster(kafka) as connection:
        try:
            await make(connection, NUMBER, 1, 1)
            with monkeypatch.context() as patched:
                patched.setattr(Cluster, "delete", deleted)
                patched.setattr("topics.generations._GONE_WITHIN_S", 0.2)
                with pytest.raises(TopicsRefusedError, match=rf"{CHANGED}.* are still there"):
                    await remove(connection, NUMBER)
        finally:
            await remove(connection, NUMBER)
