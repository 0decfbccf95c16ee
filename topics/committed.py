"""What a consumer group has committed, told apart from a coordinator that cannot say it."""

from typing import Final

import stamina
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest

from runtime.kafka.internals import send_request

_COORDINATOR_S: Final = 30.0
NO_COORDINATOR_YET: Final = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)


async def committed_offsets(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    """The offsets that a consumer group has committed; none where no group was ever used.

    The first who asks for a coordinator makes the cluster create the topic of offsets. Until that has
    leaders nobody knows what is committed, so it is asked again. Raises KafkaError if nobody answers.
    """
    found: dict[TopicPartition, int] = {}
    async for attempt in stamina.retry_context(
        on=NO_COORDINATOR_YET, attempts=None, timeout=_COORDINATOR_S, wait_initial=0.05, wait_max=0.5
    ):
        with attempt:
            found = await _asked(admin, group)
    return found


async def _asked(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    coordinator = await admin.find_coordinator(group)
    # aiokafka's own method takes a coordinator that refuses for a group that has committed nothing.
    response = await send_request(admin, OffsetFetchRequest(group, None), coordinator)
    found = {}
    codes = [response.error_code]
    for topic, partitions in response.topics:
        for partition, offset, _, code in partitions:
            codes.append(code)
            found[TopicPartition(topic, partition)] = offset
    for code in filter(None, codes):
        raise for_code(code)(f"what {group} has committed")
    return {place: offset for place, offset in found.items() if offset >= 0}
