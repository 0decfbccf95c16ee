"""Compares Redis, `carts` and Postgres cart by cart, and reads again what differs until it settles."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import msgspec

from carts.limits import TIMING
from carts.protocol import Deleted
from carts.state import State
from ops.carts_index import CartsIndex
from ops.comparison import Copies, Discrepancy, Kind, Suspects, discrepancies, is_in_row_only
from ops.copies import RedisCopies, Rows
from ops.pieces import pieces
from ops.progress import Bars, silent
from runtime.kafka.ranges import RangeReader
from store.redis import CartStore, Layout
from topics.errors import RecordError
from topics.registry import CARTS

BATCH: Final = 500
LOOKS: Final = 6
"""How often a discrepancy is read again before its cart counts as moving."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: `moving` carts differ but make progress, `unready` partitions are being restored.

    `in_rows_only` are live carts that Redis takes from their rows when somebody asks for them: it was
    restored lately, or they have idled.
    """

    carts: int
    in_redis: int
    in_rows_only: int
    in_postgres: int
    moving: int
    discrepancies: list[Discrepancy]
    unready: list[int]


class Verification:
    """One comparison of the chosen partitions; its index of `carts` stays for a repair."""

    def __init__(
        self,
        layout: Layout,
        reader: RangeReader,
        store: CartStore,
        redis: RedisCopies,
        rows: Rows,
        partitions: Sequence[int],
    ) -> None:
        """All arguments are connected and belong to the caller."""
        self._layout = layout
        self._reader = reader
        self._store = store
        self._redis = redis
        self._rows = rows
        self.indexes = {partition: CartsIndex(partition, layout.partitions) for partition in partitions}
        self._in_redis = 0
        self._in_postgres = 0
        self._in_rows_only = 0

    async def run(self, bars: Bars, settle_s: float) -> Verified:
        """Compare everything, then what differs again and again, `settle_s` seconds apart.

        Raises StoreError, psycopg.Error, KafkaError, ReadStalled: nothing is known then.
        """
        unready = sorted(self.indexes.keys() - await self._store.ready_partitions())
        carts = 0
        known = await self._ids()
        suspects = Suspects()
        found: list[Discrepancy] = []
        unreadable: list[Discrepancy] = []
        for partition, index in self.indexes.items():
            await index.read(self._reader, bars(f"reading carts/{partition}", await index.left(self._reader)))
            ids = sorted(known.pop(partition, set()) | index.entries.keys())
            carts += len(ids)
            advance = bars(f"comparing partition {partition}", len(ids))
            differing: list[Discrepancy] = []
            for batch in pieces(ids, BATCH):
                differing += await self._compare(index, batch)
                advance(len(batch))
            index.forget_all_but({discrepancy.cart_id for discrepancy in differing})
            found += differing
            unreadable += _unreadable(index)
        in_rows_only = self._in_rows_only
        suspects.look(found)
        await self._look_again(suspects, settle_s, bars)
        return Verified(
            carts=carts,
            in_redis=self._in_redis,
            in_rows_only=in_rows_only,
            in_postgres=self._in_postgres,
            moving=suspects.moving(),
            discrepancies=[*suspects.confirmed(), *unreadable, *await self._outboxes()],
            unready=unready,
        )

    async def _look_again(self, suspects: Suspects, settle_s: float, bars: Bars) -> None:
        for look in range(LOOKS):
            if suspects.settled:
                return
            advance = bars(f"looking again at {len(suspects.carts)} carts ({look + 1})", len(suspects.carts))
            await asyncio.sleep(settle_s)
            again: list[Discrepancy] = []
            for index, carts in self._by_index(suspects.carts):
                await index.read(self._reader, silent("", 0), only=carts)
                for batch in pieces(sorted(carts), BATCH):
                    again += await self._compare(index, batch)
                    advance(len(batch))
            suspects.look(again)

    async def _compare(self, index: CartsIndex, carts: Sequence[str]) -> list[Discrepancy]:
        copies = await self._redis.read(carts)
        rows = await self._rows.read(carts)
        found: list[Discrepancy] = []
        for cart_id in carts:
            entry = index.entries.get(cart_id)
            recorded: State | Deleted | None = None
            if entry is not None:
                try:
                    recorded = entry.found()
                except RecordError as error:
                    found.append(
                        Discrepancy(
                            Kind.UNREADABLE, index.partition, cart_id, frozenset({str(error)}), str(error)
                        )
                    )
                    continue
            both = Copies(
                partition=index.partition,
                cart_id=cart_id,
                recorded=recorded,
                purge_floor=index.purge_floor,
                redis=copies.get(cart_id),
                row=rows.get(cart_id),
            )
            self._in_rows_only += is_in_row_only(both)
            found += discrepancies(both)
        return found

    async def _ids(self) -> dict[int, set[str]]:
        """The carts of the chosen partitions that Redis or Postgres know, by partition."""
        known: defaultdict[int, set[str]] = defaultdict(set)
        self._in_redis = await self._sort(self._redis.ids(), known)
        self._in_postgres = await self._sort(self._rows.ids(), known)
        return known

    async def _sort(self, ids: AsyncIterator[list[str]], known: dict[int, set[str]]) -> int:
        count = 0
        async for some in ids:
            for cart_id in some:
                partition = self._layout.partition(cart_id)
                if partition in self.indexes:
                    known[partition].add(cart_id)
                    count += 1
        return count

    def _by_index(self, carts: Iterable[str]) -> list[tuple[CartsIndex, set[str]]]:
        sorted_out: defaultdict[int, set[str]] = defaultdict(set)
        for cart_id in carts:
            sorted_out[self._layout.partition(cart_id)].add(cart_id)
        return [(self.indexes[partition], some) for partition, some in sorted(sorted_out.items())]

    async def _outboxes(self) -> list[Discrepancy]:
        deadline_us = TIMING.publish_deadline_us
        return [
            Discrepancy(
                Kind.OUTBOX_WAITS,
                depth.partition,
                "",
                frozenset(),
                f"{depth.entries} changes, the oldest for {depth.oldest_us // 1_000_000} s",
            )
            for depth in await self._store.outbox_depths()
            if depth.partition in self.indexes and depth.oldest_us > deadline_us
        ]


def _unreadable(index: CartsIndex) -> list[Discrepancy]:
    return [
        Discrepancy(
            Kind.UNREADABLE,
            index.partition,
            "",
            frozenset({str(offset)}),
            f"{CARTS.name}/{index.partition}/{offset}",
        )
        for offset in index.unreadable
    ]
