"""How far compaction has got, asked of the broker."""

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from topics.groups import COMPACTION
from topics.settings import KafkaSettings


async def compacted_up_to(kafka: KafkaSettings, partition: TopicPartition) -> int | None:
    """The offset compaction has committed: every change below it is in `carts`. None: it never has.

    Raises aiokafka's KafkaError.
    """
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(COMPACTION, partitions=[partition])
    finally:
        await admin.close()
    found = offsets.get(partition)
    return found.offset if found is not None and found.offset >= 0 else None
