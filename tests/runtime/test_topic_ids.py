"""The ids of topics: one that was made anew has another id; a broker that is too old has none."""

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from runtime.kafka.ranges import RangeReader
from runtime.kafka.topic_ids import topic_ids
from runtime.settings import KafkaSettings
from tests.support.topics import make_topics
from tests.support.waiting import until


async def test_a_topic_that_is_deleted_and_made_anew_has_another_id(kafka_bootstrap: str) -> None:
    kafka, topic = KafkaSettings(kafka_bootstrap=kafka_bootstrap), f"ids-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    async with RangeReader(kafka) as reader:
        await make_topics(admin, NewTopic(topic, 2, 1))
        first = await reader.topic_id(topic)
        assert first
        assert await reader.topic_id(topic) == first
        await admin.delete_topics([topic])

        async def gone() -> bool:
            return topic not in await admin.list_topics()

        await until(gone)
        with pytest.raises(UnknownTopicOrPartitionError):
            await reader.topic_id(topic)
        await make_topics(admin, NewTopic(topic, 2, 1))
        assert await reader.topic_id(topic) not in {"", first}
    await admin.close()


async def test_a_broker_that_is_too_old_for_ids_gives_none() -> None:
    async def send(_: int, request: Any) -> None:
        request.prepare({request.API_KEY: (0, 9)})

    client: Any = SimpleNamespace(get_random_node=lambda: 1, send=send)
    assert await topic_ids(client, ["carts"]) == {}
