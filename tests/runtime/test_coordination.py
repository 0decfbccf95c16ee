"""A member of a group that is refused tries again, on a real broker."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewTopic
from aiokafka.errors import GroupAuthorizationFailedError

from runtime.kafka import coordination
from runtime.kafka.coordination import until_it_ends
from runtime.kafka.internals import coordinator_of
from runtime.settings import KafkaSettings
from tests.support.topics import make_topics
from tests.support.waiting import until
from topics.cluster import admin_client


class Group:
    """A member whose joins can be refused; the broker itself would refuse them without a right."""

    def __init__(self, consumer: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.coordinator = coordinator_of(consumer)
        self.joins = self.refused = 0
        self._join = self.coordinator.ensure_active_group
        monkeypatch.setattr(self.coordinator, "ensure_active_group", self._joining)

    async def _joining(self, *args: Any) -> Any:
        if self.refused:
            self.refused -= 1
            raise GroupAuthorizationFailedError(self.coordinator.group_id)
        found = await self._join(*args)
        self.joins += 1
        return found


@pytest.fixture
async def consumer(kafka: KafkaSettings) -> AIOKafkaConsumer:
    """Not started."""
    topic = f"coordination-{uuid4().hex}"
    async with admin_client(kafka) as admin:
        await make_topics(admin, NewTopic(topic, 2, 1))
    return AIOKafkaConsumer(topic, **kafka.client_options(), group_id=uuid4().hex)


async def test_a_member_that_fetches_nothing_joins_again_once_it_is_let_in(
    consumer: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with consumer:
        group = Group(consumer, monkeypatch)
        watching = asyncio.ensure_future(until_it_ends(consumer))
        group.refused = 2
        group.coordinator.request_rejoin()
        await until(lambda: group.joins, "joined again")
        watching.cancel()


async def test_a_member_that_is_refused_for_long_ends(
    consumer: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordination, "_PATIENCE_S", 1.0)
    async with consumer:
        group = Group(consumer, monkeypatch)
        group.refused = 1_000_000
        group.coordinator.request_rejoin()
        assert "GroupAuthorizationFailedError" in await until_it_ends(consumer)


async def test_a_member_whose_coordination_has_ended_ends(consumer: AIOKafkaConsumer) -> None:
    async with consumer:
        coordinator_of(consumer)._coordination_task.cancel()  # noqa: SLF001
        assert await until_it_ends(consumer) == "the coordination of the group has ended"
