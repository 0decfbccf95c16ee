"""The restore agent: the keepers of its partitions, and the watch that tells them what Redis shows.

Kafka's group says which partitions are this agent's. Where each is read from, Redis alone says: the consumer
is a plain one that seeks. Committed offsets, which Faust would start from, inform who looks at the group.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from runtime.kafka.clients import has_died
from sinks import metrics
from sinks.errors import ClientDied, KeeperFailed
from sinks.redis.anti_entropy import AntiEntropy
from sinks.redis.follower import Keeper
from sinks.redis.progress import publish
from sinks.redis.restore import Restorer
from sinks.redis.restore_slots import Turns
from sinks.settings import RedisSinkSettings
from store.redis import CartStore, Layout, PipelinedClient, StoreError, Unfolded
from topics.groups import REDIS_SINK
from topics.registry import CARTS

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.0
LAG_SECONDS: Final = 5.0
FETCH_BYTES: Final = 1024 * 1024
NEVER_MS: Final = 24 * 60 * 60 * 1000


class RestoreAgent:
    """One agent of the group. `run` it until cancelled."""

    def __init__(self, settings: RedisSinkSettings, client: PipelinedClient) -> None:
        """`client` is connected and belongs to the caller."""
        self._settings = settings
        self._client = client
        self._layout = Layout(settings.partitions)
        self._store = CartStore(client, self._layout, lifetime=settings.lifetime)
        self._turns = Turns(settings.restore_parallel)
        self._restorer = Restorer(self._store, self._layout, settings, settings.lifetime)
        self._keepers: dict[int, tuple[Keeper, asyncio.Task[None]]] = {}
        self._assigned = False
        self._anti_entropy = AntiEntropy(
            settings,
            self._store,
            Unfolded(client, self._layout),
            self._layout,
            lambda: {partition: keeper for partition, (keeper, _) in self._keepers.items()},
            after_s=settings.anti_entropy_after_s,
        )

    async def run(self, ready: Callable[[], None]) -> None:
        """Join the group and keep its partitions; `ready` is called once, when all of them are followed.

        Raises KeeperFailed or ClientDied (in a group) for what only a new process can mend, KafkaError
        without a cluster.
        """
        consumer = AIOKafkaConsumer(
            **self._settings.client_options(),
            group_id=REDIS_SINK,
            group_instance_id=self._settings.group_instance_id,
            session_timeout_ms=int(self._settings.session_timeout_s * 1000),
            heartbeat_interval_ms=int(self._settings.session_timeout_s * 1000 / 4),
            # A partition that is being restored is not read for as long as that takes.
            max_poll_interval_ms=NEVER_MS,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        consumer.subscribe([CARTS.name], listener=Membership(self._take, self._let_go, consumer))
        await consumer.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(consumer, ready))
                group.create_task(self._measure(consumer))
                group.create_task(self._anti_entropy.run())
        finally:
            await self._let_go(list(self._keepers))
            await consumer.stop()

    async def _take(self, consumer: AIOKafkaConsumer, partitions: Iterable[int]) -> None:
        for partition in partitions:
            keeper = Keeper(partition, self._store, self._layout, consumer, self._restorer, self._turns)
            self._keepers[partition] = keeper, asyncio.create_task(keeper.run(), name=f"keeper-{partition}")
        self._assigned = True
        log.info("agent.partitions", partitions=sorted(self._keepers))

    async def _let_go(self, partitions: Iterable[int]) -> None:
        tasks = [self._keepers.pop(partition)[1] for partition in partitions if partition in self._keepers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, consumer: AIOKafkaConsumer, ready: Callable[[], None]) -> None:
        """Each second: what Redis shows, who waits for what, and how far the restorations are."""
        announced = False
        while True:
            try:
                await self._look()
                for progress in list(self._restorer.running.values()):
                    await publish(self._client, self._layout, progress.report())
            except StoreError as error:
                log.warning("agent.redis_unavailable", error=str(error))
            for keeper, task in self._keepers.values():
                if task.done():
                    raise KeeperFailed(keeper.partition) from task.exception()
            if has_died(consumer._client):  # noqa: SLF001  its own methods only hang then
                raise ClientDied
            following = all(keeper.position is not None for keeper, _ in self._keepers.values())
            if self._assigned and following and not announced:
                announced = True
                log.info("agent.ready", partitions=len(self._keepers))
                ready()
            await asyncio.sleep(LOOK_SECONDS if announced else LOOK_SECONDS / 10)

    async def _look(self) -> None:
        self._turns.wished = await self._store.wished()
        markers = await self._store.ready_partitions()
        asked = [(keeper, keeper.position) for keeper, _ in self._keepers.values()]
        positions = await asyncio.gather(*(self._store.followed(keeper.partition) for keeper, _ in asked))
        for (keeper, position), followed in zip(asked, positions, strict=True):
            keeper.look(position, ready=keeper.partition in markers, followed=followed)

    async def _measure(self, consumer: AIOKafkaConsumer) -> None:
        """The lag of every partition; a keeper with lag that does not get on for long is dead silently."""
        while True:
            await asyncio.sleep(LAG_SECONDS)
            following = {
                TopicPartition(CARTS.name, partition): keeper
                for partition, (keeper, _) in self._keepers.items()
                if keeper.position is not None
            }
            try:
                ends = await consumer.end_offsets(list(following)) if following else {}
            except KafkaError as error:
                log.warning("agent.kafka_unavailable", error=repr(error))
                continue
            for partition, end in ends.items():
                keeper = following[partition]
                lag = end - keeper.position if keeper.position is not None else 0
                metrics.FOLLOW_LAG.labels(keeper.partition).set(lag)
                if lag <= 0:
                    # A record that comes after a quiet hour has not been waiting for an hour.
                    keeper.moved_at = time.monotonic()
                elif time.monotonic() - keeper.moved_at > self._settings.stall_after_s:
                    raise KeeperFailed(keeper.partition)


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hands the group's decisions on, as partition numbers."""

    def __init__(
        self,
        take: Callable[[AIOKafkaConsumer, Iterable[int]], Awaitable[None]],
        let_go: Callable[[Iterable[int]], Awaitable[None]],
        consumer: AIOKafkaConsumer,
    ) -> None:
        self._take = take
        self._let_go = let_go
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """They may be somebody else's soon."""
        await self._let_go([partition.partition for partition in revoked])

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """They are ours."""
        await self._take(self._consumer, [partition.partition for partition in assigned])
