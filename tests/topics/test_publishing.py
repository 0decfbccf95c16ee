"""Publishing while Kafka does not answer, on a real broker: nothing is left of who tried."""

import asyncio
from uuid import uuid4

import pytest
from aiokafka.admin import NewTopic

from devstack.embedded import EmbeddedStack
from devstack.settings import KAFKA
from runtime.settings import KafkaSettings
from tests.support.outages import frozen
from tests.support.topics import make_topics
from tests.support.waiting import until
from topics import publishing
from topics.cluster import admin_client
from topics.publishing import Publisher


@pytest.mark.embedded
async def test_nothing_is_left_of_a_publisher_that_could_not_publish(
    stack: EmbeddedStack, kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "STOPPED_WITHIN_S", 0.2)
    topic = f"unanswered-{uuid4().hex}"
    async with admin_client(kafka) as admin:
        await make_topics(admin, NewTopic(topic, 1, 1))
    before = asyncio.all_tasks()
    async with Publisher(kafka) as publisher:
        await publisher.publish(topic, 0, b"key", b"value", [])
        monkeypatch.setattr(publishing, "ACKNOWLEDGED_WITHIN_S", 0.5)
        with frozen(stack, KAFKA):
            with pytest.raises(TimeoutError):
                await publisher.publish(topic, 0, b"key", b"value", [])
            await publisher.__aexit__(None, None, None)
            await until(lambda: asyncio.all_tasks() <= before, "no task is left")
