"""Publishes records to an explicit partition, with the current time, acknowledged by all replicas."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaProducer

from carts.operations import Change
from runtime.kafka.producers import stop_within
from runtime.settings import KafkaSettings
from topics.codec import encode_change
from topics.headers import Headers, change_headers
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED, DEAD_LETTERS, Compression

ACKNOWLEDGED_WITHIN_S: Final = 30.0
STOPPED_WITHIN_S: Final = 5.0


class Publisher:
    """A producer, as an async context manager; publishing twice is what folding absorbs."""

    def __init__(self, kafka: KafkaSettings, compression: Compression | None = None) -> None:
        self._producer = AIOKafkaProducer(
            **kafka.client_options(),
            acks="all",
            # The broker's limit for each topic decides, not the client's.
            max_request_size=DEAD_LETTERS.max_message_bytes,
            linger_ms=5,
            compression_type=compression,
        )

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
                await self._producer.start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def publish(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers
    ) -> int:
        """Send a record and wait for its acknowledgement: its offset. Raises KafkaError, TimeoutError."""
        (offset,) = await self.publish_all(topic, partition, [(key, value, headers)])
        return offset

    async def publish_all(
        self,
        topic: str,
        partition: int,
        records: Iterable[tuple[bytes | None, bytes | None, Headers]],
        *,
        at_ms: int | None = None,
    ) -> list[int]:
        """Send records (key, value, headers) in this order, and wait for all of them: their offsets.

        Their timestamp is `at_ms`, or now. Raises KafkaError, TimeoutError: some may be in the topic then.
        """
        async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
            sent = [
                await self._producer.send(topic, value, key, partition, at_ms, headers or None)
                for key, value, headers in records
            ]
            return [int(record.offset) for record in await asyncio.gather(*sent)]

    async def publish_changes(
        self, changes: Iterable[Change], partitions: int, *, source: str, at_ms: int | None = None
    ) -> None:
        """Send changes to `cart-changed`, which has that many partitions, each to its cart's; wait for all.

        `source` names the process, as in the headers; else as `publish_all`.
        """
        records: defaultdict[int, list[tuple[bytes, bytes, Headers]]] = defaultdict(list)
        for change in changes:
            key = change.cart_id.encode()
            headers = change_headers(change.cart_id, change.version, change.op_id, source=source)
            records[partition_of(key, partitions)].append((key, encode_change(change), headers))
        await asyncio.gather(
            *(
                self.publish_all(CART_CHANGED.name, partition, some, at_ms=at_ms)
                for partition, some in records.items()
            )
        )

    async def _stop(self) -> None:
        # During an outage a producer flushes without end; the caller repeats what was not acknowledged.
        await stop_within(self._producer, STOPPED_WITHIN_S)
