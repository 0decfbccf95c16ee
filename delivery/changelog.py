"""Sends a table's states to its changelog: many in one batch of the producer, each batch with one answer."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer

from runtime.settings import KafkaSettings

Headers = Sequence[tuple[str, bytes]]

BATCH_BYTES: Final = 512 << 10
"""Of a batch, unless one record is larger: every topic takes it that has the broker's `max.message.bytes`."""
REQUEST_TIMEOUT_MS: Final = 60_000


class KeyedState(Protocol):
    """What a table holds of a key from now on; a value of None deletes it, and is a tombstone in the log."""

    @property
    def key(self) -> bytes:
        """The key."""

    @property
    def value(self) -> bytes | None:
        """The state."""

    @property
    def headers(self) -> Headers:
        """Headers of the changelog record."""


class Batch(NamedTuple):
    """States that go to the log together, at offsets without a gap, and aiokafka's form of them."""

    states: list[KeyedState]
    builder: Any


class ChangelogWriter:
    """A producer for one changelog. The batches of a partition get there in the order of the calls."""

    def __init__(self, kafka: KafkaSettings, topic: str, compression: str | None) -> None:
        self.topic = topic
        self._kafka = kafka
        self._compression = compression
        self._producer: AIOKafkaProducer | None = None
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self) -> None:
        """Connect, unless it is. Raises aiokafka's KafkaError."""
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._kafka.client_options(),
                acks="all",
                compression_type=self._compression,
                max_batch_size=BATCH_BYTES,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer

    async def stop(self) -> None:
        """Send what is under way and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    def batches(self, states: Iterable[KeyedState]) -> Iterator[Batch]:
        """The states in order, in batches as large as they get.

        A state of any size is taken, alone if need be: the caller checks that the topic takes it.
        """
        left = deque(states)
        while left:
            builder = self._connected().create_batch()
            taken: list[KeyedState] = []
            while left:
                state = left[0]
                appended = builder.append(
                    timestamp=None, key=state.key, value=state.value, headers=list(state.headers)
                )
                if appended is None:
                    break
                taken.append(left.popleft())
            # Nobody adds to it: it does not wait for more.
            builder.close()
            yield Batch(taken, builder)

    async def send(self, batch: Batch, partition: int) -> asyncio.Future[Any]:
        """Send when the partition's last batch is on its way; the future has the first state's offset."""
        # aiokafka wakes up who waits for room, and who comes before that one is awake takes the room: an
        # older state would be the last in the log. A lock is given to those who wait in their order.
        async with self._turns[partition]:
            sent: asyncio.Future[Any] = await self._connected().send_batch(
                batch.builder, self.topic, partition=partition
            )
        return sent

    def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError(f"the writer of {self.topic} is not started")
        return self._producer
