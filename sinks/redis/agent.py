"""The restore agent: the followers of its partitions, and the watch that tells them what Redis shows."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from sinks.errors import FollowerFailed
from sinks.redis import metrics
from sinks.redis.anti_entropy import AntiEntropy
from sinks.redis.expired_copies import ExpiredCopies
from sinks.redis.followed_log import FollowedLog
from sinks.redis.follower import PartitionFollower
from sinks.redis.membership import fail_with_client, fail_with_topic, joined, lags
from sinks.redis.progress import publish
from sinks.redis.restore import Restorer
from sinks.redis.restore_slots import RestoreSlots
from sinks.redis.rows import Rows
from sinks.redis.settings import RedisSinkSettings
from sinks.redis.warming import Warming
from store.redis import CartStore, Layout, PendingCompaction, PipelinedClient, StoreError
from topics.groups import REDIS_SINK
from topics.registry import CARTS

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 0.2
NEVER_MS: Final = 24 * 60 * 60 * 1000


class RestoreAgent:
    """One agent of the group. `run` it until cancelled."""

    def __init__(self, settings: RedisSinkSettings, client: PipelinedClient) -> None:
        """`client` is connected and belongs to the caller."""
        self._settings = settings
        self._client = client
        self._layout = Layout(settings.partitions)
        self._store = CartStore(client, self._layout, lifetime=settings.lifetime)
        self._slots = RestoreSlots(settings.restore_parallel)
        self._rows = Rows(settings.postgres_address, self._layout)
        self._restorer = Restorer(
            self._store,
            self._layout,
            settings,
            settings.lifetime,
            self._rows,
            readers=settings.restore_parallel,
        )
        self._followers: dict[int, tuple[PartitionFollower, asyncio.Task[None]]] = {}
        self._followed_log = FollowedLog()
        self._assigned = False
        self._anti_entropy = AntiEntropy(
            settings,
            self._store,
            PendingCompaction(client, self._layout),
            self._layout,
            lambda: {partition: follower for partition, (follower, _) in self._followers.items()},
            after_s=settings.anti_entropy_after_s,
        )
        self._warming = Warming(
            settings,
            self._store,
            self._rows,
            self._layout,
            self._followed,
            opening=lambda: bool(self._restorer.running),
        )
        self._expired_copies = ExpiredCopies(self._store, self._rows, self._followed)

    async def run(self, ready: Callable[[], None]) -> None:
        """Join the group and follow its partitions; `ready` is called once, when all of them are followed.

        Raises FollowerFailed, ClientDied or TopicMadeAnew (in a group), after which only a new process helps,
        KafkaError without a cluster.
        """
        async with joined(
            self._settings,
            REDIS_SINK,
            CARTS.name,
            assigned=self._follow,
            revoked=self._let_go,
            # A partition is not polled while it is restored.
            max_poll_interval_ms=NEVER_MS,
        ) as consumer:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._watch(ready))
                    group.create_task(self._followed_log.run(consumer))
                    group.create_task(self._measure(consumer))
                    group.create_task(fail_with_client(consumer))
                    group.create_task(fail_with_topic(consumer, CARTS.name))
                    group.create_task(self._anti_entropy.run())
                    group.create_task(self._warming.run())
                    group.create_task(self._expired_copies.run())
            finally:
                await self._let_go(list(self._followers))
                await self._rows.close()
                await self._restorer.close()

    async def _follow(self, consumer: AIOKafkaConsumer, partitions: Sequence[int]) -> None:
        # Until a follower says where it reads from, nothing is fetched. The group has committed no offsets:
        # the whole log would come, and be thrown away.
        consumer.pause(*(TopicPartition(CARTS.name, partition) for partition in partitions))
        for partition in partitions:
            follower = PartitionFollower(
                partition,
                self._store,
                self._layout,
                consumer,
                self._followed_log,
                self._restorer,
                self._slots,
            )
            self._followers[partition] = (
                follower,
                asyncio.create_task(follower.run(), name=f"follower-{partition}"),
            )
        self._assigned = True
        log.info("agent.partitions", partitions=sorted(self._followers))

    async def _let_go(self, partitions: Iterable[int]) -> None:
        tasks = [
            self._followers.pop(partition)[1] for partition in partitions if partition in self._followers
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, ready: Callable[[], None]) -> None:
        """Again and again: markers and positions in Redis, requests that wait, progress of restores."""
        announced = False
        while True:
            try:
                await self._look()
                for progress in list(self._restorer.running.values()):
                    await publish(self._client, self._layout, progress.report())
            except StoreError as error:
                log.warning("agent.redis_unavailable", error=str(error))
            for follower, task in self._followers.values():
                if task.done():
                    # One that was cancelled from beneath has no exception, and raises if it is asked for one.
                    cause = None if task.cancelled() else task.exception()
                    raise FollowerFailed(follower.partition) from cause
            following = all(follower.position is not None for follower, _ in self._followers.values())
            if self._assigned and following and not announced:
                announced = True
                log.info("agent.ready", partitions=len(self._followers))
                ready()
            await asyncio.sleep(LOOK_SECONDS if announced else LOOK_SECONDS / 2)

    async def _look(self) -> None:
        # A partition whose server does not answer is looked at again; it holds up no other.
        markers = await self._store.known_markers()
        if None in markers.values():
            self._slots.requested = await self._store.restore_requests()
        asked = [
            (follower, follower.position)
            for follower, _ in self._followers.values()
            if follower.partition in markers
        ]
        positions = await asyncio.gather(*(self._store.followed(follower.partition) for follower, _ in asked))
        for (follower, position), followed in zip(asked, positions, strict=True):
            follower.look(position, ready=markers[follower.partition] is not None, followed=followed)

    async def _measure(self, consumer: AIOKafkaConsumer) -> None:
        """Measure the lag. Raises FollowerFailed for a follower with lag and without progress for long."""
        async for measured in lags(consumer, CARTS.name, self._positions):
            for partition, lag in measured.items():
                metrics.FOLLOW_LAG.labels(partition).set(lag.records)
                metrics.FOLLOW_LAG_SECONDS.labels(partition).set(lag.seconds)
                if partition not in self._followers:
                    continue
                follower, _ = self._followers[partition]
                if not lag.records:
                    # Otherwise the first record after a quiet hour would count as an hour without progress.
                    follower.moved_at = time.monotonic()
                elif time.monotonic() - follower.moved_at > self._settings.stall_after_s:
                    raise FollowerFailed(partition)

    def _positions(self) -> dict[int, int]:
        return {
            partition: follower.position
            for partition, (follower, _) in self._followers.items()
            if follower.position is not None
        }

    def _followed(self) -> list[int]:
        return list(self._positions())
