"""Publish changes to Kafka: one open batch per partition, one batch in flight, honest answers when it does not work.

aiokafka's producer is used without idempotence (the idempotent one hangs in outages). It keeps one request in flight
per broker, so records of a partition keep their order; a retry inside it can only duplicate, which folding absorbs.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, KafkaError, MessageSizeTooLargeError

from gateway.metrics import Metrics
from topics.headers import Headers
from topics.registry import CART_CHANGED
from topics.settings import KafkaSettings

log = structlog.get_logger(__name__)

BATCH_BYTES: Final = 256 * 1024
REQUEST_TIMEOUT_S: Final = 5.0
"""Half of the publish deadline: a batch can be tried twice before the broker refuses its age."""
STOP_TIMEOUT_S: Final = 5.0
PROBE_INTERVAL_S: Final = 1.0
RECREATE_AFTER_S: Final = 30.0
_TICK_S: Final = 0.05
_RECONNECT_S: Final = 1.0


class Record(msgspec.Struct):
    """One `cart-changed` record on its way, and the outbox entry that it empties. `timestamp` in milliseconds."""

    key: bytes
    value: bytes
    timestamp: int
    headers: Headers
    outbox_id: str
    op_id: str


class _Publication:
    """A record in a batch, whoever waits for its offset, and until when."""

    __slots__ = ("deadline", "future", "record")

    def __init__(self, record: Record, future: "asyncio.Future[int | None]", deadline: float) -> None:
        self.record = record
        self.future = future
        self.deadline = deadline

    def resolve(self, offset: int | None) -> None:
        if not self.future.done():
            self.future.set_result(offset)


class _Lane:
    """The open batch of one partition."""

    __slots__ = ("builder", "publications")

    def __init__(self) -> None:
        self.builder: Any = None
        self.publications: list[_Publication] = []


class Publisher:
    """Publishes to `cart-changed` and tells the offset, or that Kafka has not acknowledged within the wait.

    `on_ack(partition, outbox_id, op_id)` is called for every record acknowledged, also when nobody waits any more.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        partitions: int,
        wait_s: float,
        metrics: Metrics,
        on_ack: Callable[[int, str, str], None],
    ) -> None:
        self._kafka = kafka
        self._wait_s = wait_s
        self._metrics = metrics
        self._on_ack = on_ack
        self._lanes = [_Lane() for _ in range(partitions)]
        self._fresh: list[int] = []
        self._waiting: deque[_Publication] = deque()
        self._ticking = False
        self._producer: AIOKafkaProducer | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open_since: float | None = None
        self._last_probe = 0.0
        self._live = metrics.published.labels("gateway")

    @property
    def connected(self) -> bool:
        """Whether there is a producer and Kafka acknowledged what it got last."""
        return self._producer is not None and self._open_since is None

    def start(self) -> None:
        """Connect in the background: the gateway serves, with durability redis, while Kafka is away."""
        self._loop = asyncio.get_running_loop()
        self._keeper = self._loop.create_task(self._keep_connected())

    async def stop(self) -> None:
        """Flush what is in flight, then disconnect; what is not acknowledged in time stays in the outbox."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._drop_producer()
        for publication in self._waiting:
            publication.resolve(None)

    def publish(self, partition: int, record: Record) -> "asyncio.Future[int | None]":
        """The offset once Kafka has acknowledged; None when that did not happen within the wait."""
        future: asyncio.Future[int | None] = self._loop.create_future()
        if self._producer is None or not self._may_try():
            future.set_result(None)
            return future
        publication = _Publication(record, future, time.monotonic() + self._wait_s)
        lane = self._lanes[partition]
        if lane.builder is None or not self._append(lane.builder, record):
            lane.builder = self._producer.create_batch()
            lane.publications = []
            self._append(lane.builder, record)
            if not self._fresh:
                self._loop.call_soon(self._flush)
            self._fresh.append(partition)
        lane.publications.append(publication)
        self._waiting.append(publication)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(_TICK_S, self._tick)
        return future

    async def republish(self, partition: int, records: Sequence[Record]) -> list[int | None]:
        """Publish `records` in their order, apart from the live ones; the offsets, None where not acknowledged.

        After the first failure nothing more is tried: order would be lost.
        """
        offsets: list[int | None] = []
        rest = deque(records)
        while rest:
            batch = self._take_batch(rest)
            acknowledged = await self._publish_batch(partition, batch)
            offsets += acknowledged
            if None in acknowledged:
                break
        return offsets + [None] * (len(records) - len(offsets))

    def _take_batch(self, rest: deque[Record]) -> list[Record]:
        size, batch = 0, []
        while rest and (not batch or size + len(rest[0].value) < BATCH_BYTES // 2):
            size += len(rest[0].value)
            batch.append(rest.popleft())
        return batch

    async def _publish_batch(self, partition: int, records: Sequence[Record]) -> list[int | None]:
        """Send one batch; singly when one record spoils it for the others."""
        try:
            base = await self._send_closed(partition, records)
        except (InvalidTimestampError, MessageSizeTooLargeError) as error:
            if len(records) > 1:
                return [
                    offset for record in records for offset in await self._publish_batch(partition, [record])
                ]
            self._refused(partition, records[0], error)
            return [None]
        except (KafkaError, TimeoutError) as error:
            self._failed(len(records), error)
            return [None] * len(records)
        self._close_breaker()
        for record in records:
            self._on_ack(partition, record.outbox_id, record.op_id)
        return [base + index for index in range(len(records))]

    async def _send_closed(self, partition: int, records: Sequence[Record]) -> int:
        if self._producer is None:
            raise KafkaError("not connected")
        builder = self._producer.create_batch()
        for record in records:
            self._append(builder, record)
        builder.close()
        async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
            sent = await self._producer.send_batch(builder, CART_CHANGED.name, partition=partition)
            return int((await sent).offset)

    @staticmethod
    def _append(builder: Any, record: Record) -> bool:
        added = builder.append(
            timestamp=record.timestamp, key=record.key, value=record.value, headers=record.headers
        )
        return added is not None

    def _flush(self) -> None:
        fresh, self._fresh = self._fresh, []
        task = self._loop.create_task(self._send(fresh))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, partitions: list[int]) -> None:
        for partition in partitions:
            lane = self._lanes[partition]
            # The builder stays open: records join it until the producer takes it off to the broker.
            builder, publications = lane.builder, lane.publications
            try:
                if self._producer is None:
                    raise KafkaError("not connected")
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    sent = await self._producer.send_batch(builder, CART_CHANGED.name, partition=partition)
            except (KafkaError, TimeoutError) as error:
                builder.close()
                self._give_up(publications, error)
            else:
                sent.add_done_callback(partial(self._sent, partition, publications))

    def _sent(self, partition: int, publications: list[_Publication], sent: "asyncio.Future[Any]") -> None:
        error = None if sent.cancelled() else sent.exception()
        if error is None and not sent.cancelled():
            offset = sent.result().offset
            self._close_breaker()
            self._live.inc(len(publications))
            for publication in publications:
                record = publication.record
                self._on_ack(partition, record.outbox_id, record.op_id)
                publication.resolve(offset)
                offset += 1
        elif isinstance(error, InvalidTimestampError | MessageSizeTooLargeError) and len(publications) > 1:
            task = self._loop.create_task(self._send_singly(partition, publications))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(error, InvalidTimestampError | MessageSizeTooLargeError):
            self._refused(partition, publications[0].record, error)
            publications[0].resolve(None)
        else:
            self._give_up(publications, error or KafkaError("cancelled"))

    async def _send_singly(self, partition: int, publications: list[_Publication]) -> None:
        for publication in publications:
            (offset,) = await self._publish_batch(partition, [publication.record])
            publication.resolve(offset)

    def _give_up(self, publications: list[_Publication], error: BaseException) -> None:
        self._failed(len(publications), error)
        for publication in publications:
            publication.resolve(None)

    def _failed(self, count: int, error: BaseException) -> None:
        self._metrics.publish_failures.labels(type(error).__name__).inc(count)
        log.warning("publisher.failed", records=count, error=repr(error))
        self._open_breaker()

    def _refused(self, partition: int, record: Record, error: BaseException) -> None:
        """Kafka is well but does not want this record: too old (the sweeper gives it a new time), or too large."""
        self._metrics.publish_failures.labels(type(error).__name__).inc()
        log.warning("publisher.refused", partition=partition, outbox_id=record.outbox_id, error=repr(error))

    def _tick(self) -> None:
        """Release whoever has waited long enough. One timer for all: a timer a request costs more than the rest."""
        now = time.monotonic()
        waiting = self._waiting
        while waiting and (waiting[0].future.done() or waiting[0].deadline <= now):
            publication = waiting.popleft()
            if not publication.future.done():
                publication.resolve(None)
                self._open_breaker()
        if waiting:
            self._loop.call_later(_TICK_S, self._tick)
        else:
            self._ticking = False

    def _may_try(self) -> bool:
        if self._open_since is None:
            return True
        now = time.monotonic()
        if now - self._last_probe < PROBE_INTERVAL_S:
            return False
        self._last_probe = now
        return True

    def _open_breaker(self) -> None:
        if self._open_since is None:
            self._open_since = self._last_probe = time.monotonic()
            self._metrics.breaker_open.set(1)
            log.warning("publisher.breaker_opened")

    def _close_breaker(self) -> None:
        if self._open_since is not None:
            log.info("publisher.breaker_closed", seconds=round(time.monotonic() - self._open_since, 1))
            self._open_since = None
            self._metrics.breaker_open.set(0)

    def _is_dead(self) -> bool:
        """A sender that has ended never sends again; one that is stuck for long may as well have."""
        assert self._producer is not None
        sender = self._producer._sender.sender_task
        return (
            sender is None
            or sender.done()
            or (self._open_since is not None and time.monotonic() - self._open_since > RECREATE_AFTER_S)
        )

    async def _keep_connected(self) -> None:
        """Hold a living producer: this loop is what makes the outbox drain after any outage."""
        while True:
            if self._producer is None:
                await self._connect()
            elif self._is_dead():
                log.warning("publisher.recreating_producer")
                await self._drop_producer()
                self._open_since = time.monotonic() if self._open_since is not None else None
                continue
            await asyncio.sleep(_RECONNECT_S)

    async def _connect(self) -> None:
        producer = AIOKafkaProducer(
            **self._kafka.client_options(),
            acks="all",
            max_batch_size=BATCH_BYTES,
            max_request_size=2 * 1024 * 1024,
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        )
        try:
            async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
                await producer.start()
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("publisher.not_connected", error=repr(error))
            self._open_breaker()
            await self._stop_producer(producer)
        else:
            self._producer = producer
            log.info("publisher.connected", bootstrap=self._kafka.kafka_bootstrap)

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        for lane in self._lanes:
            lane.builder = None
        if producer is not None:
            await self._stop_producer(producer)

    @staticmethod
    async def _stop_producer(producer: AIOKafkaProducer) -> None:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await producer.stop()
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("publisher.stop_unclean", error=repr(error))
