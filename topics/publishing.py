"""Publishes records by hand: into an explicit partition, at the time of now, acknowledged by all replicas."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaProducer

from topics.headers import Headers
from topics.registry import DEAD_LETTERS
from topics.settings import KafkaSettings

ACKNOWLEDGED_WITHIN_S: Final = 30.0


class Publisher:
    """A producer, as an async context manager; publishing twice is what folding absorbs."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._producer = AIOKafkaProducer(
            **kafka.client_options(),
            acks="all",
            # The broker's limit for each topic decides, not the client's.
            max_request_size=DEAD_LETTERS.max_message_bytes,
            linger_ms=5,
        )

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def publish(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> int:
        """Send a record and wait for its acknowledgement: its offset. Raises KafkaError, TimeoutError."""
        (offset,) = await self.publish_all(topic, partition, [(key, value, headers)])
        return offset

    async def publish_all(
        self, topic: str, partition: int, records: Iterable[tuple[bytes | None, bytes | None, Headers]]
    ) -> list[int]:
        """Send records (key, value, headers) in this order, and wait for all of them: their offsets.

        Raises KafkaError, TimeoutError: some of them may be in the topic then.
        """
        async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
            sent = [
                await self._producer.send(topic, value, key, partition, headers=headers or None)
                for key, value, headers in records
            ]
            return [int(record.offset) for record in await asyncio.gather(*sent)]
