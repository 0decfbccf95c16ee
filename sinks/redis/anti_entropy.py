"""Anti-entropy: finds acknowledged changes that are in Redis and were lost downstream, and repairs that.

Nothing loses changes downstream; this is for the bug that does. The store keeps account of the carts whose
copy holds changes that no state put here has covered (store.redis.pending_compaction), so that nothing has to
be scanned and nothing is overlooked: a change enters with the script that makes it, and leaves with the put
that covers it. Whatever is still there after a minute is a suspect. It is lost, and not only late, if

1. it does not wait in the outbox: so it has been published, or it never will be;
2. compaction has committed past the end that `cart-changed` had then: so what was published is folded;
3. Redis has followed `carts` to the end that it had after that: so what was folded is put;
4. and still no put has covered it.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from carts.operations import Operation
from carts.protocol import publish_allowed
from runtime.kafka.ranges import RangeReader, ReaderPool
from runtime.settings import KafkaSettings
from sinks.errors import SinkError
from sinks.redis import metrics
from sinks.redis.follower import PartitionFollower
from sinks.redis.republish import Republished, Republisher, Why
from store.redis import CartStore, Layout, PendingCompaction, StoreError
from topics.groups import COMPACTION
from topics.publishing import Publisher
from topics.registry import CART_CHANGED, CARTS

log = structlog.get_logger(__name__)

SOURCE: Final = "/cartstream/sinks/redis"
CAUSE: Final = "anti-entropy"
LOOKS: Final = 4
"""Checks per `after_s`."""
SUSPECTS: Final = 200
"""Carts of a partition judged at once: should everything be lost, the repair is paced."""
CATCH_UP_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.25
REMEMBERED: Final = 100_000


class AntiEntropy:
    """Checks the partitions that an agent follows. `run` it until cancelled."""

    def __init__(
        self,
        kafka: KafkaSettings,
        store: CartStore,
        pending: PendingCompaction,
        layout: Layout,
        followers: Callable[[], Mapping[int, PartitionFollower]],
        *,
        after_s: float,
    ) -> None:
        """`followers` are the agent's by partition; a change becomes a suspect after `after_s` seconds."""
        self._kafka = kafka
        self._store = store
        self._pending = pending
        self._layout = layout
        self._followers = followers
        self._after_s = after_s
        self._readers = ReaderPool(kafka, group=COMPACTION)
        self._published: dict[tuple[str, int, str], None] = {}
        """What was published again: if once was not enough, something else is wrong."""

    async def run(self) -> None:
        """Check until cancelled. Failures of Redis and Kafka are retried."""
        while True:
            await asyncio.sleep(self._after_s / LOOKS)
            try:
                await self._look()
            except (StoreError, KafkaError, SinkError, OSError, TimeoutError) as error:
                # The next check finds the same suspects.
                log.warning("anti_entropy.waits", error=repr(error))
            except Exception:
                # For example an unreadable entry: it must not end the agent, which restores and follows.
                log.exception("anti_entropy.failed")

    async def _look(self) -> None:
        following = {
            p: follower for p, follower in self._followers().items() if follower.position is not None
        }
        if not following:
            return
        backlogs = await self._pending.backlog_us(following)
        judging = []
        for partition, follower in following.items():
            before = 2 * (await self._pending.time_us(partition) - int(self._after_s * 1_000_000))
            suspects = await self._pending.before(partition, before, SUSPECTS)
            metrics.PENDING.labels(partition).set(len(suspects))
            if suspects and publish_allowed(backlogs[partition]):
                judging.append(self._judge(follower, suspects, before))
        failures = [each for each in await asyncio.gather(*judging, return_exceptions=True) if each]
        for failure in failures:
            raise failure

    async def _judge(self, follower: PartitionFollower, suspects: dict[str, int], before: int) -> None:
        waiting = await self._pending.in_outbox(follower.partition)
        windows = await self._pending.windows(list(suspects))
        for cart_id in (cart_id for cart_id, window in windows.items() if not window):
            await self._pending.skip(cart_id, before)
        if not await self._caught_up(follower):
            log.info("anti_entropy.behind", partition=follower.partition, carts=len(suspects))
            return
        still = await self._pending.before(follower.partition, before, SUSPECTS)
        lost: dict[str, list[Operation]] = {}
        for cart_id in windows.keys() & still.keys():
            settled = [op for op in windows[cart_id] if still[cart_id] <= op.version < before]
            # If no put has named what it lacked, some of these may be known: publishing again is harmless.
            lacking = follower.uncovered.get(cart_id)
            lost[cart_id] = [
                op
                for op in settled
                if (op.version, op.op_id) not in waiting
                and (lacking is None or (op.version, op.op_id) in lacking)
            ]
        if any(lost.values()):
            await self._heal(follower, lost)

    async def _caught_up(self, follower: PartitionFollower) -> bool:
        """Whether all that is in `cart-changed` now has been folded, and the result put into Redis."""
        changed = TopicPartition(CART_CHANGED.name, follower.partition)
        async with self._readers.borrow() as reader:
            first, end = await reader.bounds(changed)
            try:
                async with asyncio.timeout(CATCH_UP_SECONDS):
                    await _compacted(reader, changed, first, end)
                    return await self._followed(follower, reader)
            except TimeoutError:
                return False

    async def _followed(self, follower: PartitionFollower, reader: RangeReader) -> bool:
        """Returns once Redis has followed `carts` to its present end; False if the follower stops following.

        Redis says how far it is: one that was just put back to an older copy has to follow again.
        """
        _, end = await reader.bounds(TopicPartition(CARTS.name, follower.partition))
        while follower.position is not None:
            if (await self._store.followed(follower.partition) or 0) >= end:
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def _heal(self, follower: PartitionFollower, lost: dict[str, list[Operation]]) -> None:
        fresh = {
            cart_id: new
            for cart_id, some in lost.items()
            if (new := [op for op in some if (cart_id, op.version, op.op_id) not in self._published])
        }
        in_vain = {
            cart_id: again
            for cart_id, some in lost.items()
            if (again := [op for op in some if (cart_id, op.version, op.op_id) in self._published])
        }
        async with Publisher(self._kafka) as publisher:
            republisher = Republisher(self._pending, publisher, self._layout, cause=CAUSE, source=SOURCE)
            republished = await republisher.republish(follower.partition, fresh)
        self._note(follower.partition, republished, in_vain)
        for cart_id, some in republished.done.items():
            self._published |= {(cart_id, op.version, op.op_id): None for op in some}
        while len(self._published) > REMEMBERED:
            del self._published[next(iter(self._published))]
        for cart_id, some in lost.items():
            hopeless = [each for each in republished.left if each.why in {Why.TOO_OLD, Why.NO_CHANGE}]
            given_up = {each.operation.version for each in hopeless if each.cart_id == cart_id}
            given_up |= {op.version for op in some if (cart_id, op.version, op.op_id) in self._published} - {
                op.version for op in republished.done.get(cart_id, ())
            }
            if given_up:
                await self._pending.skip(cart_id, max(given_up))
                follower.uncovered.pop(cart_id, None)

    @staticmethod
    def _note(partition: int, republished: Republished, in_vain: dict[str, list[Operation]]) -> None:
        for cart_id, some in republished.done.items():
            metrics.REPUBLISHED.inc(len(some))
            log.error(
                "anti_entropy.published_again",
                partition=partition,
                cart=cart_id,
                ops=[op.op_id for op in some],
            )
        for left in republished.left:
            metrics.NOT_REPUBLISHED.labels(left.why).inc()
            if left.why in {Why.TOO_OLD, Why.NO_CHANGE}:
                log.error(
                    "anti_entropy.cannot_heal",
                    partition=partition,
                    cart=left.cart_id,
                    op=left.operation.op_id,
                    v=left.operation.version,
                    why=left.why,
                )
        for cart_id, some in in_vain.items():
            metrics.NOT_REPUBLISHED.labels("in_vain").inc(len(some))
            log.error(
                "anti_entropy.in_vain", partition=partition, cart=cart_id, ops=[op.op_id for op in some]
            )


async def _compacted(reader: RangeReader, changed: TopicPartition, first: int, end: int) -> None:
    """Returns once compaction has committed `end`; of a topic that it has never read, `first` counts."""
    while True:
        committed = await reader.committed(changed)
        if (first if committed is None else committed) >= end:
            return
        await asyncio.sleep(POLL_SECONDS)
