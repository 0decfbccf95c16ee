"""What a dead letter says of the record that was consumed."""

from aiokafka import ConsumerRecord

from topics.dead_letters import SourceRecord


def source_of(record: ConsumerRecord) -> SourceRecord:
    """The record, and where it stands."""
    return SourceRecord(
        record.topic, record.partition, record.offset, record.key, record.value, list(record.headers)
    )
