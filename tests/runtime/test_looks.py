"""A look finds all that has come since the one before, not what had come until then."""

from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from runtime.kafka.looks import begin_look, end_look
from runtime.settings import KafkaSettings
from tests.support.topics import make_topics


async def test_a_look_finds_all_that_has_come_since_the_one_before(kafka_bootstrap: str) -> None:
    kafka, topic = KafkaSettings(kafka_bootstrap=kafka_bootstrap), f"looks-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    await make_topics(admin, NewTopic(topic, 2, 1))
    await admin.close()
    partitions = [TopicPartition(topic, number) for number in range(2)]
    consumer = AIOKafkaConsumer(**kafka.client_options(), auto_offset_reset="earliest")
    async with consumer, AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        consumer.assign(partitions)

        async def look() -> set[bytes]:
            await begin_look(consumer, partitions)
            found = await consumer.getmany(timeout_ms=10_000)
            end_look(consumer, partitions)
            return {record.value for records in found.values() for record in records}

        for values in ({b"first"}, {b"second", b"third", b"fourth"}, {b"fifth", b"sixth"}):
            for number, value in enumerate(sorted(values)):
                await producer.send_and_wait(topic, value, partition=number % 2)
            assert await look() == values
