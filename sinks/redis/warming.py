"""Warms Redis after a restoration from the tail: brings carts in that nobody has asked for yet, newest first.

Which carts there are is read from `carts`, backwards from where the restoration began to follow. Their states
come from their rows, through the script that brings in any cart that somebody asks for. So it may end
anywhere, overtake nobody and be done twice. How far it is stands in Redis.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from carts.state import State
from runtime.clock import clock_us
from runtime.kafka.ranges import OffsetRange, RangeReader, ReaderPool, Record
from sinks.errors import SinkError
from sinks.redis import metrics
from sinks.redis.rows import Rows
from sinks.redis.settings import RedisSinkSettings
from store.redis import CartStore, Layout, Missing, StoreError
from topics.cart_records import StateRecord, interpret_in_place
from topics.errors import RecordError
from topics.registry import CARTS

log = structlog.get_logger(__name__)

RECORDS: Final = 4000
"""Offsets of `carts` read at once."""
ROWS: Final = 100
"""Rows looked up by one query. Redis answers nobody else while it takes them in: some milliseconds."""
PAUSE_SECONDS: Final = 0.5
OPENING_SECONDS: Final = 0.1
REST: Final = 0.25
"""Of the time that a piece of work took, at least: others want Redis, Postgres and this process, too."""
AGAIN_SECONDS: Final = 3.0
"""After a failure of Redis, Kafka or Postgres."""


class Warming:
    """Warms the partitions that an agent follows, in turns. `run` it until cancelled."""

    def __init__(
        self,
        settings: RedisSinkSettings,
        store: CartStore,
        rows: Rows,
        layout: Layout,
        followed: Callable[[], Iterable[int]],
        opening: Callable[[], bool],
    ) -> None:
        """`followed` are the agent's partitions.

        `opening` is whether the agent restores a partition: shoppers wait for that one, for warming nobody.
        """
        self._store = store
        self._rows = rows
        self._layout = layout
        self._lifetime = settings.lifetime
        self._reserve_share = settings.redis_reserve_share
        self._followed = followed
        self._opening = opening
        self._carts_per_s = settings.warm_carts_per_s
        self._readers = ReaderPool(settings)
        self._runs: dict[int, Run] = {}

    async def run(self) -> None:
        """Warm until cancelled. Failures of Redis, Kafka and Postgres are waited out."""
        while True:
            try:
                is_idle = await self.round()
            except (StoreError, KafkaError, SinkError, OSError) as error:
                log.warning("warming.waits", error=repr(error))
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                await asyncio.sleep(PAUSE_SECONDS if is_idle else 0)

    async def round(self) -> bool:
        """A piece of each partition that is cold; whether none is, or Redis has no room for more."""
        cold = {partition: await self._store.cold(partition) for partition in self._followed()}
        for partition, position in cold.items():
            metrics.COLD.labels(partition).set(position or 0)
            if position is None:
                self._runs.pop(partition, None)
        left = [partition for partition, position in cold.items() if position is not None]
        if not left or not await self._has_room():
            return True
        async with self._readers.borrow() as reader:
            for partition in left:
                await self._piece(reader, partition)
        return False

    async def _piece(self, reader: RangeReader, partition: int) -> None:
        await self._until_all_are_open()
        began = time.monotonic()
        before = await self._store.missing(partition)
        position = await self._store.cold(partition)
        if not isinstance(before, Missing) or position is None:
            return
        run = self._runs.get(partition)
        if run is None or not run.goes_on(before.marker.restoration, position):
            run = self._runs[partition] = Run(before.marker.restoration, position)
        place = TopicPartition(CARTS.name, partition)
        first = (await reader.bounds(place)).start
        start = max(first, position - RECORDS)
        found: list[Record] = []
        async for records in reader.read({place: OffsetRange(start, position)}, batch=RECORDS):
            found += records
        ids = [cart_id for cart_id in newest_first(found, self._layout.partitions) if cart_id not in run.seen]
        absent = await self._store.absent(ids)
        await self._rest(began, 0)
        left: set[str] = set()
        for at in range(0, len(absent), ROWS):
            left_to_rows = await self._bring_in(run, partition, absent[at : at + ROWS])
            if left_to_rows is None:
                return
            left |= left_to_rows
        warm = [cart_id for cart_id in ids if cart_id not in left]
        if start > first:
            if await self._store.warmed(partition, run.restoration, position, start, warm):
                run.noted(start, ids)
        elif await self._store.warmed(partition, run.restoration, position, None, warm):
            self._runs.pop(partition, None)
            log.info("warming.complete", partition=partition, carts=run.brought_in, seconds=run.seconds)

    async def _bring_in(self, run: "Run", partition: int, cart_ids: Sequence[str]) -> set[str] | None:
        """Bring carts in, and rest; those that are left to their rows, or have none.

        None: Redis was restored again, or rows do not count yet.
        """
        await self._until_all_are_open()
        if not await self._has_room():
            return None
        began = time.monotonic()
        missing = await self._store.missing(partition)
        if not isinstance(missing, Missing) or missing.marker.restoration != run.restoration:
            return None
        rows = await self._rows.look_up_readable(cart_ids)
        now_us = clock_us()
        hydrations, left = [], set(cart_ids)
        for cart_id, row in rows.items():
            if not missing.is_met_by(row):
                await asyncio.sleep(PAUSE_SECONDS)
                return None
            state = row.state
            if state is not None and self._is_wanted(cart_id, state, now_us):
                left.remove(cart_id)
                hydrations.append(self._store.hydrate(cart_id, state, missing.found(row)))
        brought_in = sum(await asyncio.gather(*hydrations))
        run.brought_in += brought_in
        metrics.WARMED.inc(brought_in)
        await self._rest(began, len(cart_ids))
        return left

    async def _has_room(self) -> bool:
        """Whether Redis has room; if not, carts stay in their rows, from which they are read."""
        has_room = (await self._store.memory()).has_room(self._reserve_share)
        metrics.WAITS_FOR_ROOM.labels("warming").set(not has_room)
        return has_room

    async def _until_all_are_open(self) -> None:
        while self._opening():  # noqa: ASYNC110  a restoration is short, and nobody waits for warming
            await asyncio.sleep(OPENING_SECONDS)

    async def _rest(self, began: float, rows: int) -> None:
        await asyncio.sleep(rest_s(time.monotonic() - began, rows, self._carts_per_s))

    def _is_wanted(self, cart_id: str, state: State, now_us: int) -> bool:
        return not (state.expired or self._lifetime.idle(cart_id, state.version_number, now_us))


class Run:
    """The warming of a partition after one restoration."""

    def __init__(self, restoration: str, position: int) -> None:
        """It begins at this position."""
        self.restoration = restoration
        self.brought_in = 0
        self._began = time.monotonic()
        self._position = position
        self.seen: set[str] = set()
        """The carts met so far: newer records were read first."""

    def goes_on(self, restoration: str, position: int) -> bool:
        """Whether Redis is where this has brought it: one that has fallen back lacks carts met since."""
        return (restoration, position) == (self.restoration, self._position)

    def noted(self, position: int, cart_ids: Iterable[str]) -> None:
        """Redis has noted that it is warm from this position on; these carts were met."""
        self._position = position
        self.seen.update(cart_ids)

    @property
    def seconds(self) -> float:
        """How long it has lasted in this process."""
        return round(time.monotonic() - self._began, 1)


def rest_s(took_s: float, rows: int, carts_per_s: int) -> float:
    """How many seconds to rest after work on so many rows that took `took_s`. Pure."""
    return max(took_s * REST, rows / carts_per_s - took_s)


def newest_first(records: Sequence[Record], partitions: int) -> list[str]:
    """The carts with a state in the records, those first whose newest record is the newest. Pure."""
    ids: dict[str, None] = {}
    for record in reversed(records):
        try:
            said = interpret_in_place(record, partitions)
        except RecordError:
            continue
        if isinstance(said, StateRecord):
            ids.setdefault(said.cart_id)
    return list(ids)
