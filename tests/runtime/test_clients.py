"""The death of an aiokafka client, on a real broker."""

import asyncio

from aiokafka import AIOKafkaConsumer

from runtime.kafka.clients import has_died


async def test_a_client_whose_metadata_task_has_ended_has_died(kafka_bootstrap: str) -> None:
    async with AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap) as consumer:
        client = consumer._client  # noqa: SLF001
        assert not has_died(client)
        client._sync_task.cancel()  # noqa: SLF001
        await asyncio.wait({client._sync_task})  # noqa: SLF001
        assert has_died(client)
