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

from carts.lifetime import Lifetime
from carts.state import State
from runtime.clock import clock_us
from runtime.kafka.ranges import OffsetRange, RangeReader, ReaderPool, Record
from runtime.settings import KafkaSettings
from sinks.errors import SinkError
from sinks.redis import metrics
from sinks.redis.rows import Rows
from store.redis import CartStore, Layout, Missing, StoreError
from topics.cart_records import StateRecord, interpret_in_place
from topics.errors import RecordError
from topics.registry import CARTS

log = structlog.get_logger(__name__)

RECORDS: Final = 4000
"""Offsets of `carts` read at once."""
ROWS: Final = 250
"""Rows looked up by one query."""
PAUSE_SECONDS: Final = 0.5
AGAIN_SECONDS: Final = 3.0
"""After a failure of Redis, Kafka or Postgres."""


class Warming:
    """Warms the partitions that an agent follows, in turns. `run` it until cancelled."""

    def __init__(
        self,
        kafka: KafkaSettings,
        store: CartStore,
        rows: Rows,
        layout: Layout,
        lifetime: Lifetime,
        followed: Callable[[], Iterable[int]],
        *,
        carts_per_s: int,
    ) -> None:
        """`followed` are the agent's partitions; at most `carts_per_s` rows are looked up in a second."""
        self._store = store
        self._rows = rows
        self._layout = layout
        self._lifetime = lifetime
        self._followed = followed
        self._carts_per_s = carts_per_s
        self._readers = ReaderPool(kafka)
        self._runs: dict[int, Run] = {}

    async def run(self) -> None:
        """Warm until cancelled. Failures of Redis, Kafka and Postgres are waited out."""
        while True:
            try:
                is_warm = await self.round()
            except (StoreError, KafkaError, SinkError, OSError) as error:
                log.warning("warming.waits", error=repr(error))
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                await asyncio.sleep(PAUSE_SECONDS if is_warm else 0)

    async def round(self) -> bool:
        """A piece of each partition that is cold; whether none is."""
        cold = {partition: await self._store.cold(partition) for partition in self._followed()}
        for partition, position in cold.items():
            metrics.COLD.labels(partition).set(position or 0)
            if position is None:
                self._runs.pop(partition, None)
        left = {partition: position for partition, position in cold.items() if position is not None}
        if not left:
            return True
        async with self._readers.borrow() as reader:
            for partition, position in left.items():
                await self._piece(reader, partition, position)
        return False

    async def _piece(self, reader: RangeReader, partition: int, position: int) -> None:
        began = time.monotonic()
        before = await self._store.missing(partition)
        if not isinstance(before, Missing):
            return
        run = self._runs.get(partition)
        if run is None or run.restoration != before.marker.restoration:
            run = self._runs[partition] = Run(before.marker.restoration)
        place = TopicPartition(CARTS.name, partition)
        first = (await reader.bounds(place)).start
        start = max(first, position - RECORDS)
        found: list[Record] = []
        async for records in reader.read({place: OffsetRange(start, position)}, batch=RECORDS):
            found += records
        missing = await self._store.missing(partition)
        if not isinstance(missing, Missing) or missing.marker != before.marker:
            return
        ids = [cart_id for cart_id in newest_first(found, self._layout.partitions) if cart_id not in run.seen]
        looked_up = await self._bring_in(run, await self._store.absent(ids), missing)
        if looked_up is None:
            return
        run.seen.update(ids)
        if start > first:
            await self._store.warmed(partition, run.restoration, start)
        elif await self._store.warmed(partition, run.restoration, None):
            self._runs.pop(partition, None)
            log.info("warming.complete", partition=partition, carts=run.brought_in, seconds=run.seconds)
        # Reading takes time from others, too: they get as much.
        took = time.monotonic() - began
        await asyncio.sleep(max(took, looked_up / self._carts_per_s - took))

    async def _bring_in(self, run: "Run", cart_ids: Sequence[str], missing: Missing) -> int | None:
        """Bring carts in; how many rows were looked up, None: they do not count yet."""
        for at in range(0, len(cart_ids), ROWS):
            some = cart_ids[at : at + ROWS]
            rows = await self._rows.look_up(some)
            now_us = clock_us()
            hydrations = []
            for cart_id, row in rows.items():
                if not missing.is_met_by(row):
                    await asyncio.sleep(PAUSE_SECONDS)
                    return None
                state = row.state
                if state is not None and self._is_wanted(cart_id, state, now_us):
                    hydrations.append(self._store.hydrate(cart_id, state, missing.found(row)))
            brought_in = sum(await asyncio.gather(*hydrations))
            run.brought_in += brought_in
            metrics.WARMED.inc(brought_in)
        return len(cart_ids)

    def _is_wanted(self, cart_id: str, state: State, now_us: int) -> bool:
        return not (state.expired or self._lifetime.idle(cart_id, state.version_number, now_us))


class Run:
    """The warming of a partition after one restoration."""

    def __init__(self, restoration: str) -> None:
        self.restoration = restoration
        self.brought_in = 0
        self._began = time.monotonic()
        self.seen: set[str] = set()
        """The carts met so far: newer records were read first."""

    @property
    def seconds(self) -> float:
        """How long it has lasted in this process."""
        return round(time.monotonic() - self._began, 1)


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
