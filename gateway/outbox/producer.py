"""Hold a living Kafka producer: connect in the background, replace one that is dead, stop within bounds."""

import asyncio
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from gateway.resilience.breaker import Breaker
from runtime.kafka.causes import why_unusable
from runtime.kafka.clients import has_died
from runtime.kafka.internals import sender_task
from runtime.kafka.producers import stop_within
from runtime.settings import KafkaSettings
from topics.registry import CART_CHANGED

log = structlog.get_logger(__name__)

BATCH_BYTES: Final = 256 * 1024
REQUEST_BYTES: Final = 2 * 1024 * 1024
REQUEST_TIMEOUT_S: Final = 5.0
"""Half of the publish deadline: a batch is tried twice before the broker refuses its age."""
_STOP_TIMEOUT_S: Final = 5.0
_REPLACE_AFTER_S: Final = 30.0
_PAUSE_S: Final = 1.0
_UNTRIED_S: Final = 3.0
_METADATA_TIMEOUT_S: Final = 2.0


class ProducerConnection:
    """One producer at a time; none while Kafka cannot be reached."""

    def __init__(self, kafka: KafkaSettings, breaker: Breaker) -> None:
        self._kafka = kafka
        self._breaker = breaker
        self._connecting: asyncio.Task[None] | None = None
        self._explaining: asyncio.Task[None] | None = None
        self._connected_at = 0.0
        self.producer: AIOKafkaProducer | None = None

    def start(self) -> None:
        """Connect in the background: the gateway serves, with durability redis, while Kafka is away."""
        self._connecting = asyncio.get_running_loop().create_task(self._keep_connected())

    async def stop(self) -> None:
        """Flush what the producer holds and disconnect; gives up after some seconds."""
        tasks = [task for task in (self._connecting, self._explaining) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drop()

    async def _keep_connected(self) -> None:
        # A loop of its own instead of a retry library: without it nothing would ever drain the outboxes.
        while True:
            try:
                if self.producer is not None and self._is_dead(self.producer):
                    log.warning("kafka.replacing_producer", failing_s=round(self._breaker.open_for(), 1))
                    await self._drop()
                if self.producer is None:
                    await self._connect()
                elif self._breaker.is_open and self._breaker.untried_for() > _UNTRIED_S:
                    await self._ask(self.producer)
            except Exception:
                # Whatever it was: a gateway that never connects again would break the promise.
                log.exception("kafka.connection_failed")
            await asyncio.sleep(_PAUSE_S)

    async def _ask(self, producer: AIOKafkaProducer) -> None:
        """Without requests no acknowledgement can close the breaker: an answer has to do."""
        try:
            async with asyncio.timeout(_METADATA_TIMEOUT_S):
                await producer.client.fetch_all_metadata()
        except (KafkaError, TimeoutError, OSError) as error:
            log.info("kafka.does_not_answer", error=repr(error))
        else:
            self._breaker.succeeded()

    def _is_dead(self, producer: AIOKafkaProducer) -> bool:
        sender = sender_task(producer)
        age = asyncio.get_running_loop().time() - self._connected_at
        return (
            sender is None
            or sender.done()
            or has_died(producer.client)
            or (self._breaker.open_for() > _REPLACE_AFTER_S and age > _REPLACE_AFTER_S)
        )

    async def _connect(self) -> None:
        producer = AIOKafkaProducer(
            **self._kafka.client_options(),
            acks="all",
            max_batch_size=BATCH_BYTES,
            max_request_size=REQUEST_BYTES,
            request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        )
        try:
            async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
                await producer.start()
                # Its client learns the leaders of the topics that it knows of, and no others.
                await producer.client.add_topic(CART_CHANGED.name)
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("kafka.not_connected", error=repr(error))
            self._breaker.failed()
            self._explain()
            await stop_within(producer, _STOP_TIMEOUT_S)
        else:
            self.producer = producer
            self._connected_at = asyncio.get_running_loop().time()
            log.info("kafka.connected", bootstrap=self._kafka.kafka_bootstrap)

    def _explain(self) -> None:
        """Find out why, beside the next attempts: the error says only that no broker could be reached."""
        if self._explaining is None or self._explaining.done():
            self._explaining = asyncio.get_running_loop().create_task(self._tell_why())

    async def _tell_why(self) -> None:
        if (cause := await why_unusable(self._kafka)) is not None:
            log.warning("kafka.unusable", cause=cause.text)

    async def _drop(self) -> None:
        producer, self.producer = self.producer, None
        if producer is not None:
            await stop_within(producer, _STOP_TIMEOUT_S)
