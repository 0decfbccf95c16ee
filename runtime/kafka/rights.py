"""Asks the cluster what this client's principal may do with topics and consumer groups."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct

from runtime.kafka.internals import send_request
from runtime.kafka.topic_ids import MetadataRequest

_NOT_TOLD: Final = -(2**31)


class Operation(IntEnum):
    """What an ACL allows, by its number in the protocol."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11

    @property
    def label(self) -> str:
        """As `kafka-acls` calls it: `DescribeConfigs`."""
        return self.name.title().replace("_", "")


async def topic_rights(
    admin: AIOKafkaAdminClient, names: Iterable[str]
) -> dict[str, frozenset[Operation] | None]:
    """What the principal may do with each topic; None: the cluster does not tell. Raises KafkaError.

    Of a topic to which it has no right at all nobody learns whether it exists: nothing.
    """
    asked = list(names)
    try:
        response = await send_request(admin, MetadataRequest(asked, rights=True))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return dict.fromkeys(asked)
    return {
        name: frozenset() if code == TopicAuthorizationFailedError.errno else _operations(bits)
        for code, name, _id, _is_internal, _partitions, bits, _tags in response.topics
    }


async def group_rights(admin: AIOKafkaAdminClient, group: str) -> frozenset[Operation] | None:
    """What the principal may do with a consumer group; None: the cluster does not tell. Raises KafkaError."""
    try:
        coordinator = await admin.find_coordinator(group)
        response = await send_request(admin, _DescribeGroup(group), coordinator)
    except GroupAuthorizationFailedError:
        return frozenset()
    except (IncompatibleBrokerVersion, NotImplementedError):
        return None
    ((code, *_, bits),) = response.groups
    if code == GroupAuthorizationFailedError.errno:
        return frozenset()
    if code:
        # Of a coordinator that has just become it, and reads what there is.
        raise for_code(code)(group)
    return _operations(bits)


class _DescribeGroupRequest(RequestStruct):  # type: ignore[misc]
    """aiokafka 0.14 knows the answer of this version, too, but takes it for that of the one before."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class _DescribeGroup(Request[_DescribeGroupRequest]):  # type: ignore[misc]
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_DescribeGroupRequest]) -> _DescribeGroupRequest:
        rights = True
        return request_struct_class([self._group], rights)


def _operations(bits: int) -> frozenset[Operation] | None:
    if bits == _NOT_TOLD:
        return None
    return frozenset(operation for operation in Operation if bits >> operation & 1)
