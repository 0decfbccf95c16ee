"""Looks a cart up in Redis, Kafka and Postgres: each store's copy side by side, and what was done to it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import msgspec

from carts.protocol import Deleted
from carts.state import State
from ops.carts_index import CartsIndex
from ops.comparison import Copies, RedisCopy, RowCopy
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
    copy_unread,
    differences,
    erased_at,
    merge_of,
    order_of,
    past_unread,
)
from ops.lookup.past import LATEST, PastPage, in_history, in_topic
from ops.overview.settings import OverviewSettings
from ops.progress import Bars, silent
from ops.running import Failed, explained
from runtime.kafka.ranges import RangeReader
from store.postgres import merges, orders
from store.postgres.history import Position
from store.postgres.merges import StoredMerge
from store.postgres.session import connect
from store.redis import CartStore, Layout, Missing, PipelinedClient, Restoring, StoredCart
from topics.errors import RecordError
from topics.records import OrderRecord

EVENTS: Final = 25
"""Operations that the operations page shows."""
SHOWN: Final = 25
"""Orders at most, and merges."""
TAIL: Final = 20_000
"""So many offsets of `cart-changed` the operations page reads at most, where there is no history."""
_NAME: Final = "cartstream-lookup"

T = TypeVar("T")


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How far a search goes: into a cart's past, `limit` operations before a position.

    `tail`: of so many last offsets of its partition at most; None: of all. `letters`: dead letters, too.
    `tolerant`: go on without a store that fails.
    """

    limit: int = EVENTS
    before: Position = LATEST
    from_history: bool = False
    tail: int | None = TAIL
    letters: bool = False
    tolerant: bool = False


class _InRedis(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis has; `waiting`: changes of the cart in its outbox."""

    cart: StoredCart | Missing | Restoring
    copy: RedisCopy | None
    waiting: int


class _InPostgres(msgspec.Struct, frozen=True, kw_only=True):
    """What Postgres has, with one order and one merge more than are shown; `past` of the history."""

    copy: RowCopy | None
    states: list[tuple[str, str]]
    orders: list[OrderRecord]
    merges: list[StoredMerge]
    past: Past | None

    @property
    def cut(self) -> list[str]:
        """Which of orders and merges has more than are shown."""
        return [name for name in ("orders", "merges") if len(getattr(self, name)) > SHOWN]


class _InKafka(msgspec.Struct, frozen=True, kw_only=True):
    """What Kafka has; `past` of `cart-changed`."""

    recorded: State | Deleted | RecordError | None
    purge_floor: int
    past: Past | None


class Lookup:
    """One search at a time: each reads a partition of `carts`."""

    def __init__(self, settings: OverviewSettings) -> None:
        self._settings: Final = settings
        self._layout: Final = Layout(settings.partitions)
        self._lock: Final = asyncio.Lock()

    async def find(self, cart_id: str, reach: Reach, bars: Bars = silent) -> Found:
        """What there is of a cart, everywhere. Raises Failed with what a store that failed said.

        With `reach.tolerant` it does not: `failures` has it, and what the others have is shown.
        """
        partition = self._layout.partition(cart_id)
        tolerant, failures = reach.tolerant, list[str]()
        async with self._lock:
            # First what is furthest on: what comes meanwhile makes the others differ for a moment only.
            redis = await self._part(self._in_redis(cart_id), failures, tolerant=tolerant)
            rows = await self._part(self._in_postgres(cart_id, reach), failures, tolerant=tolerant)
            topics = await self._part(self._in_kafka(cart_id, reach, bars), failures, tolerant=tolerant)
        compared: list[Difference] = []
        if redis and rows and topics:
            compared = _compared(partition, cart_id, redis, rows, topics)
        past = (rows and rows.past) or (topics and topics.past)
        found = Found(
            cart_id=cart_id,
            partition=partition,
            copies=[
                copy_of_redis(redis.cart) if redis else copy_unread("Redis"),
                copy_of_record(cart_id, topics.recorded) if topics else copy_unread("Kafka: carts"),
                copy_of_row(cart_id, rows.states) if rows else copy_unread("Postgres"),
            ],
            differences=compared,
            waiting=redis.waiting if redis else None,
            past=past or past_unread(history=reach.from_history),
            orders=[order_of(each) for each in rows.orders[:SHOWN]] if rows else [],
            merges=[merge_of(each) for each in reversed(rows.merges[:SHOWN])] if rows else [],
            cut=rows.cut if rows else [],
            erased_at=erased_at(topics.recorded) if topics else None,
            failures=failures,
        )
        if not (reach.letters and topics):
            return found
        keys = {cart_id, *(each.order_id for each in found.orders), *(each.merge_id for each in found.merges)}
        letters = find(self._settings, DeadLetterFilter(keys=frozenset(keys)), bars)
        listed = await self._part(letters, failures, tolerant=tolerant)
        return msgspec.structs.replace(
            found, dead_letters=None if listed is None else [summary(each) for each in listed]
        )

    async def _part(self, work: Coroutine[Any, Any, T], failures: list[str], *, tolerant: bool) -> T | None:
        """What the work returns; None: its store failed, which is noted."""
        try:
            with explained(self._settings):
                return await work
        except Failed as failure:
            if not tolerant:
                raise
            failures.append(failure.message)
            return None

    async def _in_redis(self, cart_id: str) -> _InRedis:
        async with PipelinedClient(self._settings, name=_NAME) as client:
            store = CartStore(client, self._layout)
            cart = await store.read(cart_id)
            copies = await RedisCopies(client, self._layout).read([cart_id])
            entries = await store.outbox_read(self._layout.partition(cart_id), "0-0", TAIL)
        waiting = sum(entry.cart_id == cart_id for entry in entries)
        return _InRedis(cart=cart, copy=copies.get(cart_id), waiting=waiting)

    async def _in_postgres(self, cart_id: str, reach: Reach) -> _InPostgres:
        async with await connect(self._settings.postgres_address, name=_NAME) as connection:
            table, past = Rows(connection), None
            copies, states = await table.read([cart_id]), await table.states([cart_id])
            if reach.from_history:
                days = self._settings.history_days
                past = await in_history(connection, cart_id, reach.before, reach.limit, days)
            return _InPostgres(
                copy=copies.get(cart_id),
                states=states,
                orders=await orders.of_cart(connection, cart_id, None, SHOWN + 1),
                merges=await merges.of_cart(connection, cart_id, SHOWN + 1),
                past=past,
            )

    async def _in_kafka(self, cart_id: str, reach: Reach, bars: Bars) -> _InKafka:
        partition = self._layout.partition(cart_id)
        async with RangeReader(self._settings) as reader:
            index = CartsIndex(partition, self._settings.partitions)
            await index.read(reader, bars(f"carts/{partition}", await index.left(reader)), only={cart_id})
            past = None
            if not reach.from_history:
                page = PastPage(reach.before, reach.limit)
                past = await in_topic(reader, cart_id, partition, page, bars, most=reach.tail)
        return _InKafka(recorded=_recorded(index, cart_id), purge_floor=index.purge_floor, past=past)


def _compared(
    partition: int, cart_id: str, redis: _InRedis, rows: _InPostgres, topics: _InKafka
) -> list[Difference]:
    if isinstance(topics.recorded, RecordError) or isinstance(redis.cart, Restoring):
        return []
    return differences(
        Copies(
            partition=partition,
            cart_id=cart_id,
            recorded=topics.recorded,
            purge_floor=topics.purge_floor,
            redis=redis.copy,
            row=rows.copy,
        )
    )


def _recorded(index: CartsIndex, cart_id: str) -> State | Deleted | RecordError | None:
    entry = index.entries.get(cart_id)
    try:
        return None if entry is None else entry.found()
    except RecordError as error:
        return error
