"""A live cart below its partition's purge floor, whose partition goes to another worker and comes back."""

import time
from functools import partial
from itertools import count
from typing import Final
from uuid import uuid4

from carts.fold import fold
from carts.operations import Add, Change, Delta, Expire, Item, Purge
from carts.state import State
from runtime.kafka.ranges import RangeReader
from runtime.settings import KafkaSettings
from tests.faults.scenario import Scenario
from tests.faults.topology import Topology
from tests.support.waiting import until
from topics.partitioner import partition_of
from topics.publishing import Publisher
from topics.purge_floors import read_purge_floors

TWO: Final = Topology(workers=2, partitions=2)
FORGETFUL: Final = {"compaction": {"CARTSTREAM_LOCAL_STORE_MAX_AGE_S": "0.001"}}
"""Every partition that is assigned is read from its beginning, as one is whose store was left for hours."""
LATER_US: Final = 365 * 86_400 * 1_000_000
_SOURCE: Final = "/cartstream/tests"


class PurgedPartition:
    """The partition of the scenario's cart, in which other carts are born and deleted."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._kafka = KafkaSettings(kafka_bootstrap=scenario.testbed.urls.kafka_bootstrap)
        self._partitions = scenario.testbed.topology.partitions
        self.partition: Final = partition_of(scenario.cart.cart_id.encode(), self._partitions)

    async def purge_another(self) -> None:
        """A younger cart expires and is purged; returns when the floor is above the scenario's cart."""
        cart_id = self._fresh()
        state = await self._change(cart_id, None, (Add("tea", 1, 350, "EUR", Item("tea")),))
        now = time.time_ns() // 1000
        for step, at in ((Expire, now), (Purge, now + LATER_US)):
            # As the job does it; the fold takes the time that the command names.
            assert state is not None
            due = step(state.version_number, state.operation_count, at)
            state = await self._change(cart_id, state, (due,))
        await until(self._is_lifted, "the purge floor")

    async def is_served(self) -> None:
        """Returns when a change of the partition has come through to Postgres: its worker is at work."""
        cart_id = self._fresh()
        await self._change(cart_id, None, (Add("tea", 1, 350, "EUR", Item("tea")),))
        await until(partial(self._has_row, cart_id), "the partition is served")

    def _fresh(self) -> str:
        names = (f"guest:{uuid4().hex}-{number}" for number in count())
        return next(name for name in names if partition_of(name.encode(), self._partitions) == self.partition)

    async def _change(self, cart_id: str, state: State | None, delta: Delta) -> State | None:
        version = 2 * (time.time_ns() // 1000)
        change = Change(cart_id=cart_id, version=version, op_id=f"!{uuid4().hex}", delta=delta, born=version)
        async with Publisher(self._kafka) as publisher:
            await publisher.publish_changes([change], self._partitions, source=_SOURCE)
        return fold(state, change).state

    async def _is_lifted(self) -> bool:
        async with RangeReader(self._kafka) as reader:
            return bool((await read_purge_floors(reader, [self.partition]))[self.partition])

    async def _has_row(self, cart_id: str) -> bool:
        _, rows = await self._scenario.collector.copies([cart_id])
        return cart_id in rows


async def purged_and_regained(scenario: Scenario) -> None:
    """The partition's worker knows the floor, loses the partition, and gets it back, at least once."""
    partition = PurgedPartition(scenario)
    await partition.purge_another()
    for _ in range(2):
        await scenario.testbed.leave("compaction-2")
        await partition.is_served()
        await scenario.testbed.join("compaction-2")
        await partition.is_served()
