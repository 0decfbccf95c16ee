"""What a group has committed is not in the log: nothing is skipped in silence."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from delivery import liveness, metrics
from delivery.consumer import consumer_of
from delivery.contiguity import OutsideLog
from delivery.liveness import Liveness
from delivery.settings import DeliverySettings
from tests.delivery.conftest import PARTITIONS, Broker, Running
from tests.delivery.kill_loop import administration
from tests.delivery.test_table import appending_app, right_partition
from tests.support.waiting import until

KEY = b"a"


async def commit(broker: Broker, group: str, offset: int) -> None:
    """As the group, commit the offset of the key's partition."""
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, group_id=group, enable_auto_commit=False
    ) as consumer:
        place = TopicPartition(broker.source, right_partition(KEY))
        consumer.assign([place])
        await consumer.commit({place: offset})


def counted(broker: Broker, why: OutsideLog) -> float:
    """How often the partition was found like that."""
    found: float = metrics.OUTSIDE_LOG.labels(broker.source, right_partition(KEY), why)._value.get()  # noqa: SLF001
    return found


async def test_records_below_an_offset_that_the_log_never_had_are_processed(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    app, table = appending_app(settings, broker)
    await commit(broker, app.conf.id, 1000)
    await broker.send(broker.source, [(KEY, b"1"), (KEY, b"2")])
    async with running(app):
        await until(lambda: dict(table.items()) == {KEY: b"12"}, "what is there is processed")
        await broker.send(broker.source, [(KEY, b"3")])
        await until(lambda: dict(table.items()) == {KEY: b"123"}, "what is new is processed")
        await Liveness(app).look()
    assert counted(broker, OutsideLog.BEYOND_END) == 1
    assert await broker.committed(app.conf.id) == 3


async def test_records_that_retention_has_removed_unread_are_counted(
    broker: Broker, settings: DeliverySettings, running: Running
) -> None:
    app, table = appending_app(settings, broker)
    await commit(broker, app.conf.id, 1)
    await broker.send(broker.source, [(KEY, str(number).encode()) for number in range(6)])
    async with administration(broker.bootstrap) as admin:
        place = TopicPartition(broker.source, right_partition(KEY))
        await admin.delete_records({place: RecordsToDelete(before_offset=4)})
    async with running(app):
        await until(lambda: dict(table.items()) == {KEY: b"45"}, "what is left is processed")
    assert counted(broker, OutsideLog.REMOVED) == 1


async def test_a_log_that_loses_its_end_ends_the_process(
    broker: Broker, settings: DeliverySettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, table = appending_app(settings, broker)
    stops: list[str] = []
    monkeypatch.setattr(liveness, "fail_stop", lambda event, **_: stops.append(event))
    await broker.send(broker.source, [(KEY, b"1")])
    async with running(app):
        await until(lambda: dict(table.items()) == {KEY: b"1"})
        watch = Liveness(app)
        for partition in consumer_of(app).ledger.partitions.values():
            partition.committed += 1000
        await watch.look()
        assert not stops
        await watch.look()
        assert stops == ["partition.log_lost_its_end"]


async def test_a_topic_that_is_made_anew_ends_the_process(
    broker: Broker, settings: DeliverySettings, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = appending_app(settings, broker)
    stops: list[str] = []
    monkeypatch.setattr(liveness, "fail_stop", lambda event, **_: stops.append(event))
    async with running(app):
        watch = Liveness(app)
        await watch.look()
        assert not stops
        async with administration(broker.bootstrap) as admin:
            await admin.delete_topics([broker.source])
            new = [NewTopic(broker.source, PARTITIONS, 1)]
            # Until the old one is gone, the broker refuses it.
            await until(partial(made, admin, new), "the topic is made again")

        async def is_seen() -> bool:
            with suppress(KafkaError):
                await watch.look()
            return "topic.made_anew" in stops

        await until(is_seen, "the worker sees it")


async def made(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> bool:
    """Whether the broker has made them now."""
    try:
        await admin.create_topics(topics)
    except TopicAlreadyExistsError:
        return False
    return True
