"""How Redis and Kafka are: memory, outboxes, partitions that are restored or warmed; brokers and replicas."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient

from carts.protocol import Marker
from ops.settings import OpsSettings
from sinks.redis.progress import Report, read
from store.redis import CartStore, Layout, Memory, OutboxDepth, PipelinedClient, ServerFacts, fullest
from topics.registry import TOPICS


class Outbox(msgspec.Struct, frozen=True):
    """The Redis outbox of a partition, and the age of its oldest entry."""

    partition: int
    entries: int
    bytes: int
    oldest_s: float


class Restoring(msgspec.Struct, frozen=True):
    """A partition that is not ready; without `report` nobody works on it yet, or the agent is silent."""

    partition: int
    report: Report | None


class Warming(msgspec.Struct, frozen=True):
    """A partition whose carts are brought in from their rows: how far, in percent."""

    partition: int
    percent: float


class RedisHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How Redis is, and what it holds back. `outboxes` are those that hold something.

    Of several servers: the memory of the fullest one, the role of one that is no master.
    """

    version: str
    role: str
    used_bytes: int
    max_bytes: int
    is_durable: bool
    round_trip_ms: float
    partitions: int
    outboxes: list[Outbox]
    restoring: list[Restoring]
    warming: list[Warming]


class KafkaHealth(msgspec.Struct, frozen=True):
    """The brokers that answer, and partitions with fewer replicas in sync than they should have."""

    brokers: int
    under_replicated: list[str]


class Redis:
    """Looks into Redis over a connection of its own, which is made again when it has failed."""

    def __init__(self, settings: OpsSettings) -> None:
        self._settings: Final = settings
        self._layout: Final = Layout(settings.partitions)
        self._client: PipelinedClient | None = None

    async def look(self) -> RedisHealth:
        """How it is now. Raises StoreError."""
        client = await self._connected()
        store = CartStore(client, self._layout)
        began = time.perf_counter()
        await client.ask_each(b"PING")
        round_trip_ms = 1000 * (time.perf_counter() - began)
        servers, depths, markers = await asyncio.gather(store.facts(), store.outbox_depths(), store.markers())
        cold = await asyncio.gather(*(store.cold(partition) for partition in markers))
        missing = [each for each in range(self._layout.partitions) if each not in markers]
        reports = await asyncio.gather(*(read(client, self._layout, each) for each in missing))
        return redis_health(
            servers,
            round_trip_ms,
            depths,
            markers,
            dict(zip(markers, cold, strict=True)),
            dict(zip(missing, reports, strict=True)),
        )

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> PipelinedClient:
        if self._client is None:
            client = PipelinedClient(self._settings, name="cartstream-ops", patience_s=0)
            try:
                await client.connect()
            except BaseException:
                await client.close()
                raise
            self._client = client
        return self._client


def redis_health(
    servers: Sequence[ServerFacts],
    round_trip_ms: float,
    depths: Iterable[OutboxDepth],
    markers: Mapping[int, Marker],
    cold: Mapping[int, int | None],
    missing: Mapping[int, Report | None],
) -> RedisHealth:
    """What the answers say. Pure."""
    memory = fullest(Memory(each.used_memory, each.maxmemory) for each in servers)
    return RedisHealth(
        version=servers[0].version,
        role=next((each.role for each in servers if each.role != "master"), "master"),
        used_bytes=memory.used,
        max_bytes=memory.bound,
        is_durable=all(each.aof_enabled is not False for each in servers),
        round_trip_ms=round(round_trip_ms, 2),
        partitions=len(markers) + len(missing),
        outboxes=[
            Outbox(depth.partition, depth.entries, depth.bytes, round(depth.oldest_us / 1e6, 1))
            for depth in depths
            if depth.entries
        ],
        restoring=[Restoring(partition, report) for partition, report in sorted(missing.items())],
        warming=[
            Warming(partition, warmed(markers[partition], offset))
            for partition, offset in sorted(cold.items())
            if offset is not None
        ],
    )


def warmed(marker: Marker, cold: int) -> float:
    """How far a partition is warm, in percent: its carts come in backwards from where the rows were."""
    if not marker.rows_position:
        return 100.0
    return round(100 * (1 - min(1.0, cold / marker.rows_position)), 1)


async def look_at_brokers(settings: OpsSettings) -> KafkaHealth:
    """How the cluster is. Raises KafkaError."""
    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        cluster = await admin.describe_cluster()
        topics = await admin.describe_topics([spec.name for spec in TOPICS])
    finally:
        await admin.close()
    return kafka_health(cluster, topics)


def kafka_health(cluster: Mapping[str, Any], topics: Iterable[Mapping[str, Any]]) -> KafkaHealth:
    """What the answers say. Pure."""
    lacking = [
        f"{topic['topic']}/{partition['partition']}"
        for topic in topics
        for partition in topic["partitions"]
        if len(partition["isr"]) < len(partition["replicas"]) or partition["leader"] < 0
    ]
    return KafkaHealth(len(cluster["brokers"]), sorted(lacking))
