"""Append batches of records to partitions: one request to the broker that leads them all, and its answers.

aiokafka's own queue makes tasks, timers and futures for each batch, which costs more than a batch of one or
two records itself. Here the caller decides what goes together, and what is sent again.
"""

from collections.abc import Mapping
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

_ALL_IN_SYNC = -1


def batch_builder(max_bytes: int) -> Any:
    """A batch of records that takes one record of any size, and more as long as `max_bytes` last."""
    return DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=max_bytes,
    )


async def produce(
    client: AIOKafkaClient,
    broker: int,
    topic: str,
    batches: Mapping[int, bytes | bytearray],
    timeout_s: float,
) -> dict[int, int | KafkaError]:
    """Append a batch to each of the partitions, with acks=all: the offset of its first record, or why not.

    Raises KafkaError if the request as a whole is not answered: its batches may have been appended or not.
    """
    request = ProduceRequest(None, _ALL_IN_SYNC, int(timeout_s * 1000), [(topic, list(batches.items()))])
    response = await client.send(broker, request)
    answers: dict[int, int | KafkaError] = {}
    for _, partitions in response.topics:
        for partition, code, offset, *_ in partitions:
            error = for_code(code)
            answers[partition] = offset if error is NoError else error(f"{topic}/{partition}")
    return answers
