"""Whether an aiokafka client still works: it does not say when one of its own tasks has ended."""

from aiokafka.client import AIOKafkaClient

from runtime.kafka.internals import sync_task


def has_died(client: AIOKafkaClient) -> bool:
    """Whether the task has ended that keeps the client's view of the cluster. Nothing starts it again.

    It ends at an error that aiokafka has not foreseen. Consumers then wait for offsets and coordinators for
    ever, producers do not learn of new leaders.
    """
    task = sync_task(client)
    return task is not None and task.done()
