"""A Kafka cluster seen through its admin API: what its topics are, creating them, altering their settings."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import stamina
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from runtime.settings import KafkaSettings
from topics.errors import ClusterUnreachableError, TopicsRefusedError
from topics.plan import Observed, ObservedTopic
from topics.registry import TopicSpec

_REQUEST_TIMEOUT_MS: Final = 10_000
_TOPIC_OVERRIDE: Final = 1  # ConfigSource.DYNAMIC_TOPIC_CONFIG of the protocol


class Cluster:
    """An open connection to the cluster; `cluster()` makes one."""

    def __init__(self, kafka: KafkaSettings, admin: AIOKafkaAdminClient) -> None:
        self._kafka = kafka
        self._admin = admin

    async def observe(self, specs: Sequence[TopicSpec]) -> Observed:
        """The cluster, and those of the topics that it has."""
        brokers = (await self._admin.describe_cluster())["brokers"]
        # Asking for a topic by name may create it where auto-creation is on: ask only for what is listed.
        listed = set(await self._admin.list_topics())
        names = [spec.name for spec in specs if spec.name in listed]
        described = (
            {topic["topic"]: topic for topic in await self._admin.describe_topics(names)} if names else {}
        )
        configs = await self._configs(names)
        return Observed(
            brokers=len(brokers),
            auto_create=await self._auto_create(brokers[0]["node_id"]),
            topics={name: _observed(described[name], configs[name]) for name in names if name in configs},
        )

    async def create(self, specs: Sequence[TopicSpec], *, partitions: int, replicas: int) -> None:
        """Create the topics; one that somebody else has created meanwhile is no error."""
        response = await self._admin.create_topics(
            [
                NewTopic(spec.name, partitions, replicas, topic_configs=spec.configs(replicas=replicas))
                for spec in specs
            ]
        )
        for answer in response.to_object()["topic_errors"]:
            if answer["error_code"] not in (0, TopicAlreadyExistsError.errno):
                _refuse(f"create topic {answer['topic']}", answer["error_code"], answer["error_message"])

    async def alter(self, configs: Mapping[str, dict[str, str]]) -> None:
        """Replace the settings of topics, by topic name."""
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, name, values) for name, values in configs.items()
        ]
        for response in await self._admin.alter_configs(resources):
            for answer in response.to_object()["resources"]:
                if answer["error_code"]:
                    _refuse(
                        f"alter topic {answer['resource_name']}",
                        answer["error_code"],
                        answer["error_message"],
                    )

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
            if not resource["error_code"]
        }


@asynccontextmanager
async def cluster(kafka: KafkaSettings) -> AsyncIterator[Cluster]:
    """Connect to the cluster for a few admin requests; ClusterUnreachableError if it does not answer."""
    admin = AIOKafkaAdminClient(**kafka.client_options(), request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        yield Cluster(kafka, admin)
    except (TimeoutError, KafkaError, OSError) as error:
        raise ClusterUnreachableError(
            f"Kafka at {kafka.kafka_bootstrap} did not answer ({type(error).__name__}): see whether it is "
            "running and whether CARTSTREAM_KAFKA_BOOTSTRAP, e.g. 127.0.0.1:9092, names it"
        ) from error
    finally:
        await admin.close()


def _observed(described: dict[str, Any], entries: list[dict[str, Any]]) -> ObservedTopic:
    partitions = described["partitions"]
    return ObservedTopic(
        partitions=len(partitions),
        replicas=min((len(part["replicas"]) for part in partitions), default=0),
        leaderless=tuple(sorted(part["partition"] for part in partitions if part["leader"] < 0)),
        configs={entry["config_names"]: entry["config_value"] for entry in entries},
        overrides={
            entry["config_names"]: entry["config_value"]
            for entry in entries
            if entry["config_source"] == _TOPIC_OVERRIDE
        },
    )


def _refuse(what: str, code: int, message: str | None) -> None:
    raise TopicsRefusedError(f"Kafka refused to {what}: {message or for_code(code).__name__}")
