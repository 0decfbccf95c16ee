"""Reads topics: what they have now, and what comes into them from now on."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import ConsumerRecord

from runtime.settings import KafkaSettings
from tests.support.waiting import until
from topics.registry import PARTITIONS, PURGE_FLOORS


async def records_of(
    kafka: KafkaSettings,
    topic: str,
    partitions: Iterable[int] = range(PARTITIONS),
    starts: Mapping[int, int] | None = None,
) -> list[ConsumerRecord]:
    """Every record that the partitions have now, in order; from `starts` (offsets by partition) or all."""
    places = [TopicPartition(topic, partition) for partition in partitions]
    found: dict[TopicPartition, list[ConsumerRecord]] = {place: [] for place in places}
    async with AIOKafkaConsumer(**kafka.client_options(), auto_offset_reset="earliest") as consumer:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        for partition, offset in (starts or {}).items():
            consumer.seek(TopicPartition(topic, partition), offset)
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                found[place] += [record for record in records if record.offset < ends[place]]
    return [record for place in places for record in found[place]]


async def make_topics(admin: AIOKafkaAdminClient, *topics: NewTopic) -> None:
    """Create topics, and wait until every partition is led: a broker tells of a new topic a moment later."""
    await admin.create_topics(list(topics))
    names = [topic.name for topic in topics]

    async def are_led() -> bool:
        return all(
            not found["error_code"] and all(part["leader"] >= 0 for part in found["partitions"])
            for found in await admin.describe_topics(names)
        )

    await until(are_led, f"{names} are there")


async def ends_of(
    kafka: KafkaSettings, topic: str, partitions: Iterable[int] = range(PARTITIONS)
) -> dict[int, int]:
    """The end offset of each partition."""
    async with AIOKafkaConsumer(**kafka.client_options()) as consumer:
        ends = await consumer.end_offsets([TopicPartition(topic, partition) for partition in partitions])
    return {place.partition: end for place, end in ends.items()}


class TopicReader:
    """What has come into some topics since the test began, as far as it was waited for.

    A key is the id of a cart, an order or a product, or any bytes. Without a topic the first one is meant.
    """

    def __init__(self, consumer: AIOKafkaConsumer, topics: Sequence[str]) -> None:
        self._consumer = consumer
        self.seen: dict[str, list[ConsumerRecord]] = {topic: [] for topic in topics}

    def records(self, key: str | bytes, topic: str | None = None) -> list[ConsumerRecord]:
        """Those with the key, in their order."""
        wanted = key.encode() if isinstance(key, str) else key
        return [record for record in self.seen[topic or next(iter(self.seen))] if record.key == wanted]

    def values(self, key: str | bytes) -> list[bytes | None]:
        """Their values."""
        return [record.value for record in self.records(key)]

    async def until_seen(self, *keys: str | bytes) -> None:
        """Read on until each key has a record."""
        await self.until(lambda: all(self.records(key) for key in keys), "records of every key")

    async def first(self, key: str | bytes) -> ConsumerRecord:
        """The first record with the key, once there is one."""
        await self.until_seen(key)
        return self.records(key)[0]

    async def until(self, condition: Callable[[], bool], what: str = "records") -> None:
        """Read on until the condition holds for what was seen."""

        async def read() -> bool:
            if not condition():
                for place, found in (await self._consumer.getmany(timeout_ms=200)).items():
                    self.seen[place.topic] += found
            return condition()

        await until(read, what, every_s=0)


@asynccontextmanager
async def reading_from_now(kafka: KafkaSettings, *topics: str) -> AsyncIterator[TopicReader]:
    """A reader of all partitions of the product's topics that leaves out what other tests wrote before."""
    places = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]
    async with AIOKafkaConsumer(**kafka.client_options()) as consumer:
        consumer.assign(places)
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, end)
        yield TopicReader(consumer, topics)


async def floored_partitions(kafka: KafkaSettings) -> set[int]:
    """Those with a purge floor: a change that is older than it would be refused there."""
    return {floor.partition for floor in await records_of(kafka, PURGE_FLOORS.name)}
