"""Publish changes to Kafka: the offset of each, and honest answers when it fails."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from gateway.metrics import Metrics
from gateway.outbox.producer import BATCH_BYTES, ProducerConnection
from gateway.outbox.records import ChangeRecord
from gateway.outbox.sender import Batch, BatchSender, Publication
from gateway.resilience.breaker import Breaker
from runtime.settings import KafkaSettings

log = structlog.get_logger(__name__)

_TICK_S: Final = 0.05
_HEADERS_BYTES: Final = 1024
"""More than the headers of a record take beside its key."""


class ChangePublisher:
    """Publishes to `cart-changed`: the offset, or None if Kafka does not acknowledge within the wait.

    `on_ack(partition, outbox_id, op_id)` is called for every record acknowledged, also when nobody waits for
    it any more.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        partitions: int,
        wait_s: float,
        metrics: Metrics,
        on_ack: Callable[[int, str, str], None],
    ) -> None:
        self._wait_s = wait_s
        self._on_ack = on_ack
        self._breaker = Breaker(metrics.kafka_breaker_open)
        self._connection = ProducerConnection(kafka, self._breaker)
        self._sender = BatchSender(partitions, self._client, self)
        self._waiting: deque[Publication] = deque()
        self._ticking = False
        self._failures = metrics.publish_failures
        self._seconds = metrics.publish_seconds
        self._live = metrics.published_records.labels("gateway")

    @property
    def connected(self) -> bool:
        """Whether there is a producer and Kafka acknowledged what it got last."""
        return self._connection.producer is not None and not self._breaker.is_open

    def apart_for(self) -> float:
        """Seconds since Kafka has acknowledged nothing, 0 while it does; infinite without a producer."""
        return inf if self._connection.producer is None else self._breaker.open_for()

    @property
    def producer(self) -> AIOKafkaProducer | None:
        """The producer that lives now, for records that no cart waits for; none while Kafka is away."""
        return self._connection.producer

    def start(self) -> None:
        """Connect in the background."""
        self._loop = asyncio.get_running_loop()
        self._connection.start()

    async def until_connected(self, timeout_s: float) -> None:
        """Wait for the first connection, but not longer than this: the gateway serves without Kafka, too."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.connected:  # noqa: ASYNC110 - once, while starting
                    await asyncio.sleep(_TICK_S)

    async def stop(self) -> None:
        """Flush what is in flight, then disconnect; what is not acknowledged in time stays in its outbox."""
        await self._sender.flush()
        await self._connection.stop()
        for publication in self._waiting:
            publication.resolve(None)

    def publish(self, partition: int, record: ChangeRecord) -> "asyncio.Future[int | None]":
        """The offset once Kafka has acknowledged; None when that does not happen within the wait."""
        future: asyncio.Future[int | None] = self._loop.create_future()
        probes = self._breaker.is_open
        if self._connection.producer is None or not self._breaker.lets_through():
            future.set_result(None)
            return future
        publication = Publication(record, future, self._loop.time() + self._wait_s)
        if probes:
            # It goes out to learn whether Kafka is back; its caller need not wait for that.
            publication.resolve(None)
        self._sender.add(partition, publication)
        self._waiting.append(publication)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(_TICK_S, self._tick)
        return future

    async def republish(self, partition: int, records: Sequence[ChangeRecord]) -> list[int | None]:
        """Publish `records` in order, apart from the live ones; the offsets, None where not acknowledged.

        After the first failure nothing more is tried: their order would be lost.
        """
        offsets: list[int | None] = []
        rest = deque(records)
        while rest and None not in offsets:
            publications = [
                Publication(record, self._loop.create_future(), self._loop.time())
                for record in _take_batch(rest)
            ]
            self._sender.add_apart(partition, publications)
            offsets += await asyncio.gather(*(publication.future for publication in publications))
        return offsets + [None] * len(rest)

    def answered(self, seconds: float) -> None:
        """Count it (gateway.outbox.sender.Outcomes)."""
        self._seconds.observe(seconds)

    def acknowledged(self, partition: int, batch: Batch, offset: int) -> None:
        """Remove the entries from the outbox, and tell who waits (gateway.outbox.sender.Outcomes)."""
        self._breaker.succeeded()
        if batch.is_live:
            self._live.inc(len(batch.publications))
        on_ack = self._on_ack
        for publication in batch.publications:
            record = publication.record
            on_ack(partition, record.outbox_id, record.op_id)
            publication.resolve(offset)
            offset += 1

    def refused(self, partition: int, publication: Publication, error: BaseException) -> None:
        """The record stays in its outbox."""
        self._failures.labels(type(error).__name__).inc()
        log.warning(
            "publisher.refused",
            partition=partition,
            outbox_id=publication.record.outbox_id,
            error=repr(error),
        )
        publication.resolve(None)

    def given_up(self, batch: Batch, error: BaseException) -> None:
        """The records stay in their outbox, and for a while nobody waits for Kafka."""
        self._failures.labels(type(error).__name__).inc(len(batch.publications))
        log.warning("publisher.failed", records=len(batch.publications), error=repr(error))
        self._breaker.failed()
        for publication in batch.publications:
            publication.resolve(None)

    def _client(self) -> AIOKafkaClient | None:
        producer = self._connection.producer
        return None if producer is None else producer.client

    def _tick(self) -> None:
        """Release whoever has waited long enough; one timer for all, not one a request."""
        now = self._loop.time()
        waiting = self._waiting
        while waiting and (waiting[0].future.done() or waiting[0].deadline <= now):
            publication = waiting.popleft()
            if not publication.future.done():
                publication.resolve(None)
                self._breaker.failed()
        if waiting:
            self._loop.call_later(_TICK_S, self._tick)
        else:
            self._ticking = False


def _take_batch(rest: deque[ChangeRecord]) -> list[ChangeRecord]:
    size, batch = 0, list[ChangeRecord]()
    while rest and (not batch or size + _size(rest[0]) < BATCH_BYTES):
        size += _size(rest[0])
        batch.append(rest.popleft())
    return batch


def _size(record: ChangeRecord) -> int:
    return len(record.value) + 2 * len(record.key) + _HEADERS_BYTES
