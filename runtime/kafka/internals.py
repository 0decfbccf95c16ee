"""Every private part of aiokafka that the project uses, by a public name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender

from runtime.private_parts import PrivatePart

PARTS: Final = (
    PrivatePart(AIOKafkaConsumer, "_client", "see whether a consumer still works, and ask for topic ids"),
    PrivatePart(AIOKafkaConsumer, "_coordinator", "let static members leave, and ask for commits"),
    PrivatePart(AIOKafkaConsumer, "_fetch_max_wait_ms", "let a fetch of Faust's wait for less than 1.5 s"),
    PrivatePart(AIOKafkaClient, "_sync_task", "see whether a client still knows the cluster"),
    PrivatePart(AIOKafkaProducer, "_sender", "see whether a producer still sends"),
    PrivatePart(Sender, "sender_task", "see whether a producer still sends"),
    PrivatePart(
        AIOKafkaProducer, "_message_accumulator", "drop what a producer has not sent when it must end"
    ),
    PrivatePart(MessageAccumulator, "fail_all", "tell who waits for it that it is dropped", ("exception",)),
    PrivatePart(GroupCoordinator, "_send_req", "learn that an instance id is taken", ("request",)),
    PrivatePart(GroupCoordinator, "_maybe_leave_group", "make static members leave their group", ()),
    PrivatePart(GroupCoordinator, "_group_instance_id", "make static members leave their group"),
    PrivatePart(GroupCoordinator, "_pending_exception", "see what a member is refused"),
    PrivatePart(GroupCoordinator, "_coordination_task", "see whether a member still coordinates"),
    PrivatePart(
        AIOKafkaAdminClient,
        "_send_request",
        "send requests that it has no method for",
        ("request", "node_id"),
    ),
)


def client_of(consumer: AIOKafkaConsumer) -> AIOKafkaClient:
    """The connections of a consumer."""
    return consumer._client  # noqa: SLF001


def set_fetch_wait(consumer: AIOKafkaConsumer, milliseconds: int) -> None:
    """How long the broker may wait for records, of a consumer that is not started yet."""
    consumer._fetch_max_wait_ms = milliseconds  # noqa: SLF001


def sync_task(client: AIOKafkaClient) -> asyncio.Task[None] | None:
    """The task that keeps the client's view of the cluster; None before it is started."""
    task: asyncio.Task[None] | None = client._sync_task  # noqa: SLF001
    return task


def sender_task(producer: AIOKafkaProducer) -> asyncio.Task[None] | None:
    """The task that sends; one that has ended never sends again. None before it is started."""
    task: asyncio.Task[None] | None = producer._sender.sender_task  # noqa: SLF001
    return task


def drop_unsent(producer: AIOKafkaProducer, error: Exception) -> None:
    """Let whoever waits for what the producer has not sent get this error."""
    producer._message_accumulator.fail_all(error)  # noqa: SLF001


async def send_request(admin: AIOKafkaAdminClient, request: Any, node: int | None = None) -> Any:
    """The answer to a request that the admin client has no method for, from any broker or this one."""
    return await admin._send_request(request, node)  # noqa: SLF001


def coordinator_of(consumer: AIOKafkaConsumer) -> Any:
    """What makes the consumer a member of its group; None before it is started."""
    return consumer._coordinator  # noqa: SLF001


def pending_error(coordinator: Any) -> BaseException | None:
    """What the coordinator wants somebody to take before it goes on, with `check_errors`."""
    error: BaseException | None = coordinator._pending_exception  # noqa: SLF001
    return error


def coordination_task(coordinator: Any) -> asyncio.Task[None]:
    """The task that joins the group and keeps the member in it."""
    task: asyncio.Task[None] = coordinator._coordination_task  # noqa: SLF001
    return task


async def committed_offsets(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int | None]:
    """What the group has committed of each, None: nothing. The consumer itself asks for one at a time."""
    found = await coordinator_of(consumer).fetch_committed_offsets(partitions)
    return {place: None if meta.offset < 0 else meta.offset for place, meta in found.items()}


class CoordinatorCalls(NamedTuple):
    """How a coordinator sends a request, and how it leaves its group when it stops."""

    send: Callable[[Any], Awaitable[Any]]
    leave: Callable[[], Awaitable[None]]


def coordinator_calls(coordinator: Any) -> CoordinatorCalls:
    """Its own."""
    return CoordinatorCalls(coordinator._send_req, coordinator._maybe_leave_group)  # noqa: SLF001


def replace_coordinator_calls(coordinator: Any, calls: CoordinatorCalls) -> None:
    """Make it use these."""
    coordinator._send_req, coordinator._maybe_leave_group = calls  # noqa: SLF001


def make_dynamic(coordinator: Any) -> None:
    """Forget the instance id: as a dynamic member it leaves its group when it stops."""
    coordinator._group_instance_id = None  # noqa: SLF001
