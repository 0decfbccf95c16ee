"""Publishes records by hand: into an explicit partition, at the time of now, acknowledged by all replicas."""

import asyncio
from types import TracebackType
from typing import Any, Final, Self

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

    async def hand_over(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> "asyncio.Future[Any]":
        """Send a record; the future is its acknowledgement. Raises KafkaError."""
        sent: asyncio.Future[Any] = await self._producer.send(
            topic, value, key, partition, headers=headers or None
        )
        return sent

    async def publish(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> int:
        """Send a record and wait for its acknowledgement: its offset. Raises KafkaError, TimeoutError."""
        async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
            sent = await (await self.hand_over(topic, partition, key, value, headers))
        return int(sent.offset)
