"""Membership in a Kafka group that only shares out partitions; the positions to read from are in Redis.

So the consumer is a plain one that seeks: Faust would start from committed offsets.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from runtime.kafka.coordination import until_it_ends
from runtime.kafka.internals import client_of
from runtime.kafka.lag_age import LagAges
from runtime.kafka.membership import HEARTBEATS_PER_SESSION, client_id, watch_membership
from runtime.kafka.topic_ids import FirstIds, topic_ids
from sinks.errors import ClientDied, TopicMadeAnew
from sinks.redis.settings import RedisSinkSettings

log = structlog.get_logger(__name__)

FETCH_BYTES: Final = 1024 * 1024
LAG_SECONDS: Final = 5.0

Assigned = Callable[[AIOKafkaConsumer, list[int]], Awaitable[None]]
Revoked = Callable[[list[int]], Awaitable[None]]


@asynccontextmanager
async def joined(
    settings: RedisSinkSettings,
    group: str,
    topic: str,
    *,
    assigned: Assigned,
    revoked: Revoked,
    **options: Any,
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that has joined the group for a topic; `assigned` and `revoked` are told its partitions.

    `options` are further ones of the consumer. Raises KafkaError without a cluster.
    """
    session_ms = int(settings.session_timeout_s * 1000)
    consumer = AIOKafkaConsumer(
        **settings.client_options(),
        group_id=group,
        group_instance_id=settings.group_instance_id,
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // HEARTBEATS_PER_SESSION,
        client_id=client_id(),
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        **options,
    )
    consumer.subscribe([topic], listener=_Listener(consumer, assigned, revoked))
    await consumer.start()
    watch_membership(consumer, settings.group_instance_id)
    try:
        yield consumer
    finally:
        await consumer.stop()


async def fail_with_client(consumer: AIOKafkaConsumer) -> None:
    """Look after the consumer in its group. Raises ClientDied when it works no more: its methods hang."""
    raise ClientDied(await until_it_ends(consumer))


async def fail_with_topic(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Watch the topic. Raises TopicMadeAnew: the client might look for its partitions minutes later."""
    first = FirstIds()
    while True:
        try:
            found = await topic_ids(client_of(consumer), [topic])
        except KafkaError as error:
            log.warning("membership.topic_unknown", topic=topic, error=repr(error))
        else:
            if first.made_anew(found) is not None:
                raise TopicMadeAnew(topic)
        await asyncio.sleep(LAG_SECONDS)


class Lag(NamedTuple):
    """How far behind its log a partition's reader is: in records, and since when, in seconds."""

    records: int
    seconds: float


async def lags(
    consumer: AIOKafkaConsumer, topic: str, positions: Callable[[], Mapping[int, int]]
) -> AsyncIterator[dict[int, Lag]]:
    """Every few seconds the lag of each partition that has a position; 0 at the end of the log.

    While Kafka does not answer there is none.
    """
    ages = LagAges()
    while True:
        await asyncio.sleep(LAG_SECONDS)
        sources = [TopicPartition(topic, partition) for partition in positions()]
        try:
            ends = await consumer.end_offsets(sources) if sources else {}
        except KafkaError as error:
            log.warning("membership.kafka_unavailable", topic=topic, error=repr(error))
            continue
        now, at = time.monotonic(), positions()
        ages.keep(at)
        yield {
            number: Lag(max(0, end - at[number]), ages.age(number, at[number], end, now))
            for (_, number), end in ends.items()
            if number in at
        }


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hands the group's decisions on, as partition numbers."""

    def __init__(self, consumer: AIOKafkaConsumer, assigned: Assigned, revoked: Revoked) -> None:
        self._consumer = consumer
        self._assigned = assigned
        self._revoked = revoked

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._revoked([source.partition for source in revoked])

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._assigned(self._consumer, [source.partition for source in assigned])
