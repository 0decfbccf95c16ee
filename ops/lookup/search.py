"""Looks a cart up in Redis, Kafka and Postgres: each store's copy side by side, and what was done to it."""

import asyncio
from typing import Final

import msgspec

from carts.protocol import Deleted
from carts.state import State
from ops.carts_index import CartsIndex
from ops.comparison import Copies
from ops.copies import RedisCopies, Rows
from ops.dead_letter_documents import summary
from ops.dead_letter_topic import DeadLetterFilter
from ops.dead_letters import find
from ops.lookup.found import (
    Difference,
    Found,
    Past,
    copy_of_record,
    copy_of_redis,
    copy_of_row,
    differences,
    erased_at,
    merge_of,
    order_of,
)
from ops.lookup.past import LATEST, PastPage, in_history, in_topic
from ops.overview.settings import OverviewSettings
from ops.progress import Bars, silent
from runtime.kafka.ranges import RangeReader
from store.postgres import merges, orders
from store.postgres.history import Position
from store.postgres.session import SessionConnection, connect
from store.redis import CartStore, Layout, PipelinedClient, Restoring
from topics.errors import RecordError

EVENTS: Final = 25
"""Operations that the operations page shows."""
SHOWN: Final = 25
"""Orders at most, and merges."""
TAIL: Final = 20_000
"""So many offsets of `cart-changed` the operations page reads at most, where there is no history."""
_NAME: Final = "cartstream-lookup"


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How far a search goes: into a cart's past, `limit` operations before a position.

    `tail`: of so many last offsets of its partition at most; None: of all. `letters`: dead letters, too.
    """

    limit: int = EVENTS
    before: Position = LATEST
    from_history: bool = False
    tail: int | None = TAIL
    letters: bool = False


class Lookup:
    """One search at a time: each reads a partition of `carts`."""

    def __init__(self, settings: OverviewSettings) -> None:
        self._settings: Final = settings
        self._layout: Final = Layout(settings.partitions)
        self._lock: Final = asyncio.Lock()

    async def find(self, cart_id: str, reach: Reach, bars: Bars = silent) -> Found:
        """What there is of a cart, everywhere. Raises StoreError, psycopg.Error, KafkaError, ReadStalled."""
        settings = self._settings
        async with (
            self._lock,
            PipelinedClient(settings, name=_NAME) as client,
            await connect(settings.postgres_address, name=_NAME) as connection,
            RangeReader(settings) as reader,
        ):
            store, partition = CartStore(client, self._layout), self._layout.partition(cart_id)
            index = CartsIndex(partition, settings.partitions)
            # First what is furthest on: what comes meanwhile makes the others differ for a moment only.
            redis = await store.read(cart_id)
            redis_copies = await RedisCopies(client, self._layout).read([cart_id])
            table = Rows(connection)
            row_copies, row_states = await table.read([cart_id]), await table.states([cart_id])
            await index.read(reader, bars(f"carts/{partition}", await index.left(reader)), only={cart_id})
            recorded = _recorded(index, cart_id)
            compared: list[Difference] = []
            if not isinstance(recorded, RecordError) and not isinstance(redis, Restoring):
                compared = differences(
                    Copies(
                        partition=partition,
                        cart_id=cart_id,
                        recorded=recorded,
                        purge_floor=index.purge_floor,
                        redis=redis_copies.get(cart_id),
                        row=row_copies.get(cart_id),
                    )
                )
            found_orders = await orders.of_cart(connection, cart_id, None, SHOWN + 1)
            found_merges = await merges.of_cart(connection, cart_id, SHOWN + 1)
            found = Found(
                cart_id=cart_id,
                partition=partition,
                copies=[
                    copy_of_redis(redis),
                    copy_of_record(cart_id, recorded),
                    copy_of_row(cart_id, row_states),
                ],
                differences=compared,
                waiting=await _waiting(store, partition, cart_id),
                past=await self._past(connection, reader, cart_id, reach, bars),
                orders=[order_of(each) for each in found_orders[:SHOWN]],
                merges=[merge_of(each) for each in reversed(found_merges[:SHOWN])],
                cut=[
                    name
                    for name, all_found in (("orders", found_orders), ("merges", found_merges))
                    if len(all_found) > SHOWN
                ],
                erased_at=erased_at(recorded),
            )
        if not reach.letters:
            return found
        keys = {cart_id, *(each.order_id for each in found.orders), *(each.merge_id for each in found.merges)}
        listed = await find(settings, DeadLetterFilter(keys=frozenset(keys)), bars)
        return msgspec.structs.replace(found, dead_letters=[summary(each) for each in listed])

    async def _past(
        self, connection: SessionConnection, reader: RangeReader, cart_id: str, reach: Reach, bars: Bars
    ) -> Past:
        if reach.from_history:
            days = self._settings.history_days
            return await in_history(connection, cart_id, reach.before, reach.limit, days)
        page = PastPage(reach.before, reach.limit)
        partition = self._layout.partition(cart_id)
        return await in_topic(reader, cart_id, partition, page, bars, most=reach.tail)


async def _waiting(store: CartStore, partition: int, cart_id: str) -> int:
    entries = await store.outbox_read(partition, "0-0", TAIL)
    return sum(entry.cart_id == cart_id for entry in entries)


def _recorded(index: CartsIndex, cart_id: str) -> State | Deleted | RecordError | None:
    entry = index.entries.get(cart_id)
    try:
        return None if entry is None else entry.found()
    except RecordError as error:
        return error
