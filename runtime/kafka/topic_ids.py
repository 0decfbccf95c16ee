"""Asks the cluster for the ids of topics: a topic that is deleted and made anew has another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import ClassVar, Final
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_NO_ID: Final = UUID(int=0)
_METADATA: Final = 3


async def topic_ids(client: AIOKafkaClient, names: Iterable[str]) -> dict[str, UUID]:
    """The id of each topic, by name; empty if the cluster has none (before Kafka 2.8, or not Kafka).

    Raises aiokafka's KafkaError: the topic does not exist, the broker does not answer.
    """
    request = MetadataRequest(list(names))
    try:
        response = await client.send(client.get_random_node(), request)
    except (IncompatibleBrokerVersion, NotImplementedError):
        # The second is how aiokafka says that the broker's newest version is older than the request.
        return {}
    found: dict[str, UUID] = {}
    for code, name, topic_id, *_ in response.topics:
        if code:
            raise for_code(code)(name)
        if topic_id != _NO_ID:
            found[name] = topic_id
    return found


class FirstIds:
    """The ids that topics had when they were first seen."""

    def __init__(self) -> None:
        self._ids: dict[str, UUID] = {}

    def made_anew(self, found: Mapping[str, UUID]) -> str | None:
        """A topic that has another id now than it had at first, if there is one."""
        for name, topic_id in found.items():
            if self._ids.setdefault(name, topic_id) != topic_id:
                return name
        return None


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]
    """The protocol's type that aiokafka lacks."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _ResponseV10(Response):  # type: ignore[misc]
    """The first version with ids; aiokafka knows the versions up to 5."""

    API_KEY = _METADATA
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync_replicas", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _RequestV10(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION: ClassVar[bool] = True
    API_KEY = _METADATA
    API_VERSION = 10
    RESPONSE_TYPE = _ResponseV10
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class MetadataRequest(Request[_RequestV10]):  # type: ignore[misc]
    """What the cluster knows of topics, by name; it makes none. With `rights`: what the client may do."""

    API_KEY = _METADATA

    def __init__(self, names: Sequence[str], *, rights: bool = False) -> None:
        self._names = names
        self._rights = rights

    def build(self, request_struct_class: type[_RequestV10]) -> _RequestV10:
        """The request in this version of the protocol."""
        no_tags: dict[int, bytes] = {}
        create = rights_in_cluster = False
        return request_struct_class(
            [(_NO_ID, name, no_tags) for name in self._names],
            create,
            rights_in_cluster,
            self._rights,
            no_tags,
        )
