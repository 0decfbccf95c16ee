"""A Kafka cluster seen through its admin API: what its topics are, creating them, altering their settings."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import stamina
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidConfigurationError,
    InvalidRequestError,
    KafkaConnectionError,
    KafkaError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import DescribeConfigsRequest

from runtime.kafka.causes import Cause, cause_of, who, why_unusable
from runtime.kafka.internals import send_request
from runtime.kafka.rights import Operation, group_rights, topic_rights
from runtime.settings import KafkaSettings
from topics.access import Resource, Role, lacking
from topics.alter_request import AlterRequest
from topics.committed import committed_offsets
from topics.errors import ClusterRefusesError, ClusterUnreachableError, TopicsRefusedError
from topics.plan import Observed, ObservedTopic
from topics.refusals import Refused
from topics.registry import TopicSpec

_REQUEST_TIMEOUT_MS: Final = 10_000
_REFUSALS: Final = {
    InvalidConfigurationError.errno,
    InvalidRequestError.errno,
    PolicyViolationError.errno,
}
_FORBIDDEN: Final = {TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno}


class _Answer(NamedTuple):
    """What the cluster says to one topic of a request; code 0 is yes."""

    code: int
    message: str | None

    @property
    def reason(self) -> str:
        return self.message or for_code(self.code).__name__


class Cluster:
    """An open connection to the cluster; `cluster()` makes one."""

    def __init__(self, kafka: KafkaSettings, admin: AIOKafkaAdminClient) -> None:
        self._kafka = kafka
        self._admin = admin

    async def names(self) -> set[str]:
        """The topics that this client may see."""
        return set(await self._admin.list_topics())

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """The offsets that a consumer group has committed. Raises as `committed_offsets`."""
        return await committed_offsets(self._admin, group)

    async def setting_at_brokers(self, topic: str, name: str) -> set[str | None]:
        """The values of a topic's setting that the brokers know: one value, once a change has reached all."""
        resources = [(ConfigResourceType.TOPIC, topic, [name])]
        found: set[str | None] = set()
        for broker in (await self._admin.describe_cluster())["brokers"]:
            response = await send_request(self._admin, DescribeConfigsRequest(resources), broker["node_id"])
            for resource in response.to_object()["resources"]:
                found |= {entry["config_value"] for entry in resource["config_entries"]} or {None}
        return found

    async def delete(self, names: Sequence[str]) -> None:
        """Delete the topics; one that is not there is no error. Raises TopicsRefusedError."""
        response = await self._admin.delete_topics([*names])
        for name, code in response.topic_error_codes:
            if code not in (0, UnknownTopicOrPartitionError.errno):
                raise TopicsRefusedError(f"Kafka refused to delete topic {name}: {for_code(code).__name__}")

    async def observe(self, specs: Sequence[TopicSpec]) -> Observed:
        """The cluster, and those of the topics that it has.

        ClusterRefusesError if this client has no right to one: nobody tells it whether it exists.
        """
        brokers = (await self._admin.describe_cluster())["brokers"]
        # Asking for a topic by name may create it where auto-creation is on: ask only for what is listed.
        listed = set(await self._admin.list_topics())
        names = [spec.name for spec in specs if spec.name in listed]
        await self._require_sight([spec.name for spec in specs if spec.name not in listed])
        described = (
            {topic["topic"]: topic for topic in await self._admin.describe_topics(names)} if names else {}
        )
        configs = await self._configs(names)
        return Observed(
            brokers=len(brokers),
            auto_create=await self._auto_create(brokers[0]["node_id"]),
            topics={name: _observed(described[name], configs[name]) for name in names if name in configs},
        )

    async def require_rights(self, role: Role, specs: Sequence[TopicSpec]) -> None:
        """Return if this client may do with the topics, and in its groups, what the role does.

        ClusterRefusesError if not. What the cluster does not tell is taken for allowed.
        """
        names = [spec.name for spec in specs]
        rules = [rule for rule in role.rules() if rule.resource is Resource.GROUP or rule.name in names]
        rights = {
            (Resource.TOPIC, name): held for name, held in (await topic_rights(self._admin, names)).items()
        }
        for group in role.groups:
            rights[Resource.GROUP, group] = await self._group_rights(group)
        if missing := lacking(rules, rights):
            raise ClusterRefusesError(
                f"Kafka at {self._kafka.kafka_bootstrap} does not allow {who(self._kafka)}: "
                f"{'; '.join(map(str, missing))}. `cartstream topics acls --role {role.name}` prints what it "
                "needs"
            )

    async def _require_sight(self, unlisted: Sequence[str]) -> None:
        rights = await topic_rights(self._admin, unlisted) if unlisted else {}
        if hidden := [name for name, held in rights.items() if held == frozenset()]:
            raise ClusterRefusesError(
                f"Kafka at {self._kafka.kafka_bootstrap} shows {who(self._kafka)} nothing of "
                f"{', '.join(hidden)}: `cartstream topics acls` prints what each role needs"
            )

    async def _group_rights(self, group: str) -> frozenset[Operation] | None:
        try:
            return await group_rights(self._admin, group)
        except KafkaError:
            return None  # a new cluster has no coordinators yet

    async def create(
        self, specs: Sequence[TopicSpec], *, partitions: int, replicas: int, validate_only: bool = False
    ) -> list[Refused]:
        """Create the topics without the settings that the cluster refuses, which are returned.

        One that somebody else has created meanwhile is no error. `validate_only` creates nothing. Raises
        TopicsRefusedError.
        """
        create = partial(self._create, partitions, replicas)
        answers = await create(
            {spec.name: spec.configs(replicas=replicas) for spec in specs}, validate_only=validate_only
        )
        refused = []
        for spec in specs:
            answer = answers[spec.name]
            if answer.code in _REFUSALS:
                # It names one setting at best: ask for each alone.
                configs = spec.configs(replicas=replicas)
                for setting, value in list(configs.items()):
                    alone = (await create({spec.name: {setting: value}}, validate_only=True))[spec.name]
                    if alone.code in _REFUSALS:
                        del configs[setting]
                        refused.append(Refused(topic=spec.name, setting=setting, reason=alone.reason))
                answer = (await create({spec.name: configs}, validate_only=validate_only))[spec.name]
            if answer.code not in (0, TopicAlreadyExistsError.errno):
                raise TopicsRefusedError(f"Kafka refused to create topic {spec.name}: {answer.reason}")
        return refused

    async def alter(
        self, configs: Mapping[str, Mapping[str, str]], *, validate_only: bool = False
    ) -> list[Refused]:
        """Set settings of topics, by topic name; those that the cluster refuses are returned.

        What others have set stays. `validate_only` changes nothing. Raises TopicsRefusedError.
        """
        answers = await self._alter(configs, validate_only=validate_only) if configs else {}
        refused = []
        for name, answer in answers.items():
            if answer.code in _REFUSALS | _FORBIDDEN:
                refused += await self._alter_each(name, configs[name], validate_only=validate_only)
            elif answer.code:
                raise TopicsRefusedError(f"Kafka refused to alter topic {name}: {answer.reason}")
        return refused

    async def _alter_each(
        self, name: str, settings: Mapping[str, str], *, validate_only: bool
    ) -> list[Refused]:
        refused = []
        for setting, value in settings.items():
            answer = (await self._alter({name: {setting: value}}, validate_only=validate_only))[name]
            if answer.code:
                permitted = answer.code not in _FORBIDDEN
                refused.append(
                    Refused(topic=name, setting=setting, reason=answer.reason, permitted=permitted)
                )
        return refused

    async def _alter(
        self, configs: Mapping[str, Mapping[str, str]], *, validate_only: bool
    ) -> dict[str, _Answer]:
        request = AlterRequest(configs, validate_only=validate_only)
        # aiokafka's own way to a request of its own; its public `alter_configs` replaces all settings.
        response = await send_request(self._admin, request)
        return {
            answer["resource_name"]: _Answer(answer["error_code"], answer["error_message"])
            for answer in response.to_object()["resources"]
        }

    async def _create(
        self, partitions: int, replicas: int, configs: Mapping[str, dict[str, str]], *, validate_only: bool
    ) -> dict[str, _Answer]:
        topics = [
            NewTopic(name, partitions, replicas, topic_configs=settings) for name, settings in configs.items()
        ]
        if not topics:
            return {}
        response = await self._admin.create_topics(topics, validate_only=validate_only)
        return {
            answer["topic"]: _Answer(answer["error_code"], answer["error_message"])
            for answer in response.to_object()["topic_errors"]
        }

    async def until_led(self, specs: Sequence[TopicSpec], *, partitions: int, seconds: float) -> None:
        """Wait until every partition has a leader that answers: a client that starts now is served."""
        names = [spec.name for spec in specs]
        async for attempt in stamina.retry_context(
            on=TopicsRefusedError, attempts=None, timeout=seconds, wait_initial=0.05, wait_max=0.5
        ):
            with attempt:
                for topic in await self._admin.describe_topics(names):
                    led = [part for part in topic["partitions"] if part["leader"] >= 0]
                    if topic["error_code"] or len(led) < partitions:
                        raise TopicsRefusedError(
                            f"{topic['topic']}: {len(led)} of {partitions} partitions have a leader after "
                            f"{seconds:.0f} s: see whether all brokers are running"
                        )
        # The controller names a leader some moments before the broker knows that it leads.
        asked = [TopicPartition(name, partition) for name in names for partition in range(partitions)]
        async with AIOKafkaConsumer(**self._kafka.client_options()) as consumer:
            await asyncio.wait_for(consumer.end_offsets(asked), seconds)

    async def _auto_create(self, broker: int) -> bool:
        resource = ConfigResource(ConfigResourceType.BROKER, str(broker), {"auto.create.topics.enable": ""})
        (response,) = await self._admin.describe_configs([resource])
        entries = response.to_object()["resources"][0]["config_entries"]
        return any(entry["config_value"] == "true" for entry in entries)

    async def _configs(self, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        if not names:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        (response,) = await self._admin.describe_configs(resources)
        return {
            resource["resource_name"]: resource["config_entries"]
            for resource in response.to_object()["resources"]
            if resource["error_code"] in {0, *_FORBIDDEN}
        }


@asynccontextmanager
async def cluster(kafka: KafkaSettings) -> AsyncIterator[Cluster]:
    """Connect to the cluster for a few requests about topics. Raises as `admin_client`."""
    async with admin_client(kafka) as admin:
        yield Cluster(kafka, admin)


@asynccontextmanager
async def admin_client(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect to the cluster for a few admin requests.

    ClusterUnreachableError if it does not answer, ClusterRefusesError if it does not let this client in.
    """
    admin = AIOKafkaAdminClient(**kafka.client_options(), request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        yield admin
    except (TimeoutError, KafkaError, OSError) as error:
        # Of a connection that failed aiokafka's error says nothing: look again, and listen.
        cause = await why_unusable(kafka)
        if cause is None:
            # Its error would be taken for that of a connection that was closed.
            is_late = isinstance(error, KafkaConnectionError)
            cause = Cause("it does now, a moment ago it did not") if is_late else cause_of(error, kafka)
        if cause.misconfigured:
            raise ClusterRefusesError(f"Kafka at {kafka.kafka_bootstrap} is no use: {cause.text}") from error
        raise ClusterUnreachableError(
            f"Kafka at {kafka.kafka_bootstrap} did not answer ({cause.text}): see whether it is running and "
            "whether CARTSTREAM_KAFKA_BOOTSTRAP, e.g. 127.0.0.1:9092, names it"
        ) from error
    finally:
        await admin.close()


def _observed(described: dict[str, Any], entries: list[dict[str, Any]]) -> ObservedTopic:
    partitions = described["partitions"]
    return ObservedTopic(
        partitions=len(partitions),
        replicas=min((len(part["replicas"]) for part in partitions), default=0),
        leaderless=tuple(sorted(part["partition"] for part in partitions if part["leader"] < 0)),
        behind={
            part["partition"]: len(part["isr"])
            for part in partitions
            if len(part["isr"]) < len(part["replicas"])
        },
        configs={entry["config_names"]: entry["config_value"] for entry in entries},
    )
