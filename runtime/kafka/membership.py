"""Static members of consumer groups (KIP-345), where aiokafka knows too little of them.

A static member leaves when its process ends for good: aiokafka's never does, and its partitions would wait
for the session timeout. And a member whose instance id another process has taken learns of it: aiokafka would
take the id back, and so would the other, for ever, both working on the same partitions.
"""

import contextlib
import socket
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownMemberIdError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import (
    HeartbeatRequest,
    HeartbeatResponse_v1,
    JoinGroupRequest,
    LeaveGroupRequest,
)
from aiokafka.protocol.types import Int32, Schema, String

from runtime.ending import Ending, told
from runtime.failstop import instance_id_taken
from runtime.kafka.internals import (
    CoordinatorCalls,
    coordinator_calls,
    coordinator_of,
    make_dynamic,
    replace_coordinator_calls,
    send_request,
)
from runtime.settings import KafkaSettings

log = structlog.get_logger(__name__)

FENCED_INSTANCE_ID: Final = 82
"""Error code of the protocol; aiokafka 0.14 has no class for it."""

HEARTBEATS_PER_SESSION: Final = 20
"""A member learns of a rebalance with its next heartbeat, and all members wait for the last of them."""

_TIMEOUT_MS: Final = 2000


def client_id() -> str:
    """The name under which a process is seen in its groups: its host's.

    Not its pid: Kafka goes on showing that of the first process with an instance id.
    """
    return socket.gethostname()


class _HeartbeatResponse(Response):  # type: ignore[misc]
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = HeartbeatResponse_v1.SCHEMA


class _HeartbeatRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class _InstanceHeartbeat(Request[_HeartbeatRequest]):  # type: ignore[misc]
    """A heartbeat with the instance id: aiokafka's own, without it, is never told that it is fenced."""

    API_KEY = 12

    def __init__(self, group: str, generation: int, member_id: str, instance_id: str) -> None:
        self._fields = (group, generation, member_id, instance_id)

    def build(self, request_struct_class: type[_HeartbeatRequest]) -> _HeartbeatRequest:
        return request_struct_class(*self._fields)


def watch_membership(consumer: AIOKafkaConsumer, instance_id: str | None) -> None:
    """Make a started consumer leave its group when its process ends for good, and keep to its instance id.

    The process ends with code 1 when another one has joined the group under the same id.
    """
    if instance_id is None:
        return  # aiokafka's dynamic members leave, and have nothing to be taken
    coordinator = coordinator_of(consumer)
    send, leave = coordinator_calls(coordinator)
    member_id: str = coordinator.member_id

    async def look(request: Any) -> Any:
        nonlocal member_id
        joins = isinstance(request, JoinGroupRequest)
        if joins and member_id and not coordinator.member_id:
            # It was a member, and the broker does not know it: if it joined anew it would fence the other.
            await ask()
        response = await send(request)
        if joins:
            member_id = response.member_id or member_id
        elif isinstance(request, HeartbeatRequest) and response.error_code == UnknownMemberIdError.errno:
            await ask()
        return response

    async def ask() -> None:
        nonlocal member_id
        heartbeat = _InstanceHeartbeat(coordinator.group_id, coordinator.generation, member_id, instance_id)
        if (await send(heartbeat)).error_code == FENCED_INSTANCE_ID:
            instance_id_taken(instance_id)
        member_id = ""  # the broker has forgotten it, as it does after the session timeout

    async def leave_for_good() -> None:
        if told() is Ending.FOR_GOOD:
            make_dynamic(coordinator)
        await leave()

    replace_coordinator_calls(coordinator, CoordinatorCalls(look, leave_for_good))


async def leave_group(kafka: KafkaSettings, consumer: AIOKafkaConsumer | None) -> None:
    """Take the consumer out of its group over a connection of its own, for one that may not answer by itself.

    If Kafka does not answer soon, the group waits for the session timeout.
    """
    coordinator = None if consumer is None else coordinator_of(consumer)
    if coordinator is None or not getattr(coordinator, "member_id", ""):
        return
    admin = AIOKafkaAdminClient(**kafka.client_options(), request_timeout_ms=_TIMEOUT_MS)
    try:
        await admin.start()
        node = await admin.find_coordinator(coordinator.group_id)
        request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
        await send_request(admin, request, node)
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("group.not_left", group=coordinator.group_id, error=repr(error))
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await admin.close()
