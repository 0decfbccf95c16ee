"""Publish changes to Kafka: one open batch per partition, one in flight, honest answers when it fails.

aiokafka's producer is used without idempotence (the idempotent one hangs in outages). It keeps one request in
flight per broker, so records of a partition keep their order; its retries only duplicate, and folding absorbs
that.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, KafkaError, MessageSizeTooLargeError

from gateway.metrics import Metrics
from gateway.outbox.producer import BATCH_BYTES, REQUEST_TIMEOUT_S, ProducerConnection
from gateway.outbox.records import ChangeRecord
from gateway.resilience.breaker import Breaker
from runtime.settings import KafkaSettings
from topics.registry import CART_CHANGED

log = structlog.get_logger(__name__)

_TICK_S: Final = 0.05
_REFUSALS: Final = (InvalidTimestampError, MessageSizeTooLargeError)
"""Kafka is well but does not want a record: too old (the sweeper gives it a new time), or too large."""


class _Publication:
    """A record in a batch, whoever waits for its offset, and until when."""

    __slots__ = ("deadline", "future", "record")

    def __init__(self, record: ChangeRecord, future: "asyncio.Future[int | None]", deadline: float) -> None:
        self.record = record
        self.future = future
        self.deadline = deadline

    def resolve(self, offset: int | None) -> None:
        if not self.future.done():
            self.future.set_result(offset)


class _PartitionBatch:
    """The open batch of one partition, at one producer."""

    __slots__ = ("builder", "producer", "publications")

    def __init__(self) -> None:
        self.builder: Any = None
        self.producer: Any = None
        self.publications: list[_Publication] = []


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
        self._batches = [_PartitionBatch() for _ in range(partitions)]
        self._fresh: list[int] = []
        self._waiting: deque[_Publication] = deque()
        self._ticking = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = metrics.publish_failures
        self._live = metrics.published_records.labels("gateway")

    @property
    def connected(self) -> bool:
        """Whether there is a producer and Kafka acknowledged what it got last."""
        return self._connection.producer is not None and not self._breaker.is_open

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
        await asyncio.sleep(0)  # a flush that is due
        await asyncio.gather(*self._tasks)
        await self._connection.stop()
        for publication in self._waiting:
            publication.resolve(None)

    def publish(self, partition: int, record: ChangeRecord) -> "asyncio.Future[int | None]":
        """The offset once Kafka has acknowledged; None when that does not happen within the wait."""
        future: asyncio.Future[int | None] = self._loop.create_future()
        producer = self._connection.producer
        probes = self._breaker.is_open
        if producer is None or not self._breaker.lets_through():
            future.set_result(None)
            return future
        publication = _Publication(record, future, self._loop.time() + self._wait_s)
        if probes:
            # It goes out to learn whether Kafka is back; its caller need not wait for that.
            publication.resolve(None)
        batch = self._batches[partition]
        if batch.producer is not producer or not _append(batch.builder, record):
            batch.producer = producer
            batch.builder = producer.create_batch()
            batch.publications = []
            _append(batch.builder, record)
            if not self._fresh:
                self._loop.call_soon(self._flush)
            self._fresh.append(partition)
        batch.publications.append(publication)
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
        while rest:
            acknowledged = await self._publish_batch(partition, _take_batch(rest))
            offsets += acknowledged
            if None in acknowledged:
                break
        return offsets + [None] * (len(records) - len(offsets))

    async def _publish_batch(self, partition: int, records: Sequence[ChangeRecord]) -> list[int | None]:
        """Send one batch; singly when one record spoils it for the others."""
        try:
            base = await self._send_closed(partition, records)
        except _REFUSALS as error:
            if len(records) > 1:
                return [
                    offset for record in records for offset in await self._publish_batch(partition, [record])
                ]
            self._refused(partition, records[0], error)
            return [None]
        except (KafkaError, TimeoutError) as error:
            self._failed(len(records), error)
            return [None] * len(records)
        self._breaker.succeeded()
        for record in records:
            self._on_ack(partition, record.outbox_id, record.op_id)
        return [base + index for index in range(len(records))]

    async def _send_closed(self, partition: int, records: Sequence[ChangeRecord]) -> int:
        producer = self._connection.producer
        if producer is None:
            raise KafkaError("not connected")
        builder = producer.create_batch()
        for record in records:
            _append(builder, record)
        builder.close()
        async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
            sent = await producer.send_batch(builder, CART_CHANGED.name, partition=partition)
            return int((await sent).offset)

    def _flush(self) -> None:
        fresh, self._fresh = self._fresh, []
        self._spawn(self._send(fresh))

    async def _send(self, partitions: list[int]) -> None:
        # Builders stay open: records join them until the producer takes them off to the broker.
        unsent = {}
        for partition in partitions:
            batch = self._batches[partition]
            unsent[partition] = (batch.producer, batch.builder, batch.publications)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                for partition in partitions:
                    producer, builder, publications = unsent[partition]
                    sent = await producer.send_batch(builder, CART_CHANGED.name, partition=partition)
                    sent.add_done_callback(partial(self._sent, partition, builder, publications))
                    del unsent[partition]
        except (KafkaError, TimeoutError) as error:
            for _, builder, publications in unsent.values():
                builder.close()
                self._give_up(publications, error)

    def _sent(
        self,
        partition: int,
        builder: Any,
        publications: list[_Publication],
        sent: "asyncio.Future[Any]",
    ) -> None:
        error = KafkaError("cancelled") if sent.cancelled() else sent.exception()
        # A batch that expired before it was sent leaves its builder open: what joined it would never go out.
        builder.close()
        if error is None:
            self._acknowledged(partition, publications, sent.result().offset)
        elif not isinstance(error, _REFUSALS):
            self._give_up(publications, error)
        elif len(publications) > 1:
            self._spawn(self._send_singly(partition, publications))
        else:
            self._refused(partition, publications[0].record, error)
            publications[0].resolve(None)

    def _acknowledged(self, partition: int, publications: list[_Publication], offset: int) -> None:
        self._breaker.succeeded()
        self._live.inc(len(publications))
        on_ack = self._on_ack
        for publication in publications:
            record = publication.record
            on_ack(partition, record.outbox_id, record.op_id)
            publication.resolve(offset)
            offset += 1

    async def _send_singly(self, partition: int, publications: list[_Publication]) -> None:
        for publication in publications:
            (offset,) = await self._publish_batch(partition, [publication.record])
            publication.resolve(offset)

    def _give_up(self, publications: list[_Publication], error: BaseException) -> None:
        self._failed(len(publications), error)
        for publication in publications:
            publication.resolve(None)

    def _failed(self, count: int, error: BaseException) -> None:
        self._failures.labels(type(error).__name__).inc(count)
        log.warning("publisher.failed", records=count, error=repr(error))
        self._breaker.failed()

    def _refused(self, partition: int, record: ChangeRecord, error: BaseException) -> None:
        self._failures.labels(type(error).__name__).inc()
        log.warning("publisher.refused", partition=partition, outbox_id=record.outbox_id, error=repr(error))

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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _append(builder: Any, record: ChangeRecord) -> bool:
    added = builder.append(
        timestamp=record.timestamp, key=record.key, value=record.value, headers=record.headers
    )
    return added is not None


def _take_batch(rest: deque[ChangeRecord]) -> list[ChangeRecord]:
    size, batch = 0, list[ChangeRecord]()
    while rest and (not batch or size + len(rest[0].value) < BATCH_BYTES // 2):
        size += len(rest[0].value)
        batch.append(rest.popleft())
    return batch
