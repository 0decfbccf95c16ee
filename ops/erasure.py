"""Erases carts for an operator, and finds what is left of an erased one: in the stores and in the topics."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
import psycopg
from aiokafka import TopicPartition

from carts.content import Content
from carts.operations import Erase
from carts.state import State
from carts.view import time_of
from gateway.erasure.certificate import Certificate
from gateway.erasure.service import BeingOrdered, Erasure
from ops.settings import OpsSettings
from runtime.kafka.ranges import RangeReader, Record
from store.postgres import carts, erasure, history
from store.postgres.session import connect
from store.redis import CartStore, Layout, Missing, PipelinedClient, Restoring, StoredCart
from topics.codec import decode_change, decode_order, decode_state
from topics.errors import RecordError
from topics.partitioner import partition_of
from topics.registry import CART_ABANDONED, CART_CHANGED, CARTS, DEAD_LETTERS, ORDERS, TopicSpec

T = TypeVar("T")

ACTOR: Final = "operator"
_STATE: Final = msgspec.json.Decoder(State)
_PAGE: Final = 1000


class Refused(msgspec.Struct, frozen=True):
    """A cart that was not erased, and why."""

    cart_id: str
    why: str


class Place(msgspec.Struct, frozen=True):
    """What a store has of a cart that it should not have; `detail` says what it has."""

    where: str
    found: bool
    detail: str


class Waiting(msgspec.Struct, frozen=True):
    """Records of before the erasure that Kafka has not removed yet; it has by `gone_by`."""

    topic: str
    records: int
    gone_by: datetime


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a cart. `erased_at` is None if it never was erased, or has been deleted since."""

    cart_id: str
    erased_at: datetime | None
    places: list[Place]
    waiting: list[Waiting]

    @property
    def clean(self) -> bool:
        """Whether no store has anything that should be gone."""
        return not any(place.found for place in self.places)


class _Connection:
    """A connection to Postgres, as the erasure wants it."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def transact(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
        async with self._connection.transaction():
            return await work(self._connection)


async def erase(settings: OpsSettings, cart_ids: Sequence[str], wait_s: float) -> list[Certificate | Refused]:
    """Erase carts one after the other. Raises StoreError, psycopg.Error: some may be erased then."""
    async with _stores(settings) as (store, connection):
        work = Erasure(store, _Connection(connection), wait_s)
        done: list[Certificate | Refused] = []
        for cart_id in cart_ids:
            try:
                done.append(await work.erase(cart_id, ACTOR))
            except BeingOrdered as error:
                done.append(Refused(cart_id, str(error)))
        return done


async def find(settings: OpsSettings, cart_ids: Sequence[str]) -> list[Found]:
    """What there is of carts, everywhere. Raises StoreError, psycopg.Error, KafkaError, ReadStalled."""
    async with _stores(settings) as (store, connection), RangeReader(settings) as reader:
        search = _Search(store, connection, reader, settings.partitions)
        return [await search.find(cart_id) for cart_id in cart_ids]


@asynccontextmanager
async def _stores(
    settings: OpsSettings,
) -> AsyncIterator[tuple[CartStore, psycopg.AsyncConnection[Any]]]:
    async with (
        await connect(settings.postgres_address, name="cartstream-erase") as connection,
        PipelinedClient(settings, name="cartstream-erase") as client,
    ):
        yield CartStore(client, Layout(settings.partitions), lifetime=settings.lifetime), connection


class Holding(msgspec.Struct, frozen=True):
    """A copy of a cart: its content, the versions of the operations in its window, and its floor."""

    content: Content
    versions: list[int]
    floor: int

    @staticmethod
    def of(state: State) -> "Holding":
        """What a state holds."""
        return Holding(state.content(), [op.version for op in state.ops], state.floor)

    @property
    def lines(self) -> int:
        """How many lines it shows."""
        return sum(line.quantity > 0 for line in self.content.lines.values())


def judge(where: str, copy: Holding, *, is_recorded: bool, erased: int) -> Place:
    """What a copy has of before the erasure at version `erased` (0: there was none). Pure.

    `is_recorded`: `carts` has a state of the cart. Then the cart is neither deleted nor unknown.
    """
    held = f"{copy.lines} lines, {len(copy.versions)} operations"
    if not is_recorded:
        return Place(where, found=True, detail=f"{held}, though `carts` has no such cart")
    if not erased:
        return Place(where, found=True, detail=f"{held}: never erased")
    if copy.floor < erased - 1:
        return Place(where, found=True, detail=f"{held}: a copy of before")
    if old := sum(version < erased for version in copy.versions):
        return Place(where, found=True, detail=f"{old} operations of before")
    return Place(where, found=False, detail=f"{copy.lines} lines since" if copy.lines else "nothing")


class _Search:
    """Looks for carts; all arguments are connected and belong to the caller."""

    def __init__(
        self,
        store: CartStore,
        connection: psycopg.AsyncConnection[Any],
        reader: RangeReader,
        partitions: int,
    ) -> None:
        self._store = store
        self._connection = connection
        self._reader = reader
        self._partitions = partitions

    async def find(self, cart_id: str) -> Found:
        """What there is of a cart."""
        key, home = cart_id.encode(), partition_of(cart_id.encode(), self._partitions)
        states = [record async for record in self._records(CARTS, [home]) if record.key == key]
        newest = decode_state(states[-1].value) if states and states[-1].value is not None else None
        erased = newest.erased if newest is not None else 0
        order_ids = await self._order_ids(cart_id)
        at = time_of(erased)
        places = [
            Place(CARTS.name, found=False, detail="no such cart, or deleted")
            if newest is None
            else judge(CARTS.name, Holding.of(newest), is_recorded=True, erased=erased),
            await self._in_redis(cart_id, is_recorded=newest is not None, erased=erased),
            await self._in_redis_outbox(cart_id, home, erased),
            await self._in_row(cart_id, is_recorded=newest is not None, erased=erased),
            await self._in_orders(cart_id, at),
            await self._in_history(cart_id, erased),
        ]
        waiting = [
            _waiting(CARTS, states, lambda record: _is_state_of_before(record, erased), at),
            _waiting(
                CART_CHANGED,
                [record async for record in self._records(CART_CHANGED, [home]) if record.key == key],
                lambda record: _is_change_of_before(record, erased),
            ),
            _waiting(
                ORDERS,
                [
                    record
                    async for record in self._records(ORDERS, self._homes(order_ids))
                    if record.key in order_ids
                ],
                _is_personal,
            ),
            _waiting(
                CART_ABANDONED,
                [record async for record in self._records(CART_ABANDONED, [home]) if record.key == key],
                lambda record: at is None or record.timestamp <= at.timestamp() * 1000,
            ),
            _waiting(
                DEAD_LETTERS,
                [
                    record
                    async for record in self._records(DEAD_LETTERS, range(self._partitions))
                    if record.key == key or record.key in order_ids
                ],
                lambda record: record.value is not None,
            ),
        ]
        return Found(
            cart_id=cart_id,
            erased_at=at,
            places=places,
            waiting=[each for each in waiting if each is not None],
        )

    async def _records(self, topic: TopicSpec, partitions: Collection[int]) -> AsyncIterator[Record]:
        places = [TopicPartition(topic.name, partition) for partition in partitions]
        bounds = await self._reader.bounds_of(places)
        async for records in self._reader.read(bounds):
            for record in records:
                yield record

    def _homes(self, keys: Collection[bytes]) -> set[int]:
        return {partition_of(key, self._partitions) for key in keys}

    async def _order_ids(self, cart_id: str) -> set[bytes]:
        return {order_id.encode() for order_id in await erasure.order_ids(self._connection, cart_id)}

    async def _in_redis(self, cart_id: str, *, is_recorded: bool, erased: int) -> Place:
        copy = await self._store.read(cart_id)
        window = await self._store.window(cart_id)
        if isinstance(copy, Restoring) or isinstance(window, Restoring):
            return Place("Redis", found=True, detail="its partition is being restored: ask again")
        if not isinstance(copy, StoredCart) or isinstance(window, Missing):
            return Place("Redis", found=False, detail="no such cart")
        holding = Holding(copy.content(), [entry.version for entry in window], copy.head.floor)
        return judge("Redis", holding, is_recorded=is_recorded, erased=erased)

    async def _in_redis_outbox(self, cart_id: str, partition: int, erased: int) -> Place:
        count, after = 0, "0-0"
        while page := await self._store.outbox_read(partition, after, _PAGE):
            after = page[-1].id
            count += sum(
                entry.cart_id == cart_id and (not erased or entry.version < erased) for entry in page
            )
        return Place("Redis outbox", found=bool(count), detail=f"{count} changes of before")

    async def _in_row(self, cart_id: str, *, is_recorded: bool, erased: int) -> Place:
        rows = await carts.states(self._connection, [cart_id])
        if not rows:
            return Place("Postgres row", found=False, detail="no such cart")
        holding = Holding.of(_STATE.decode(rows[0][1]))
        return judge("Postgres row", holding, is_recorded=is_recorded, erased=erased)

    async def _in_orders(self, cart_id: str, at: datetime | None) -> Place:
        rows = await erasure.find(self._connection, cart_id, at)
        counts = ", ".join(f"{count} {name}" for name, count in msgspec.structs.asdict(rows).items())
        return Place("Postgres orders", found=rows.exist, detail=counts)

    async def _in_history(self, cart_id: str, erased: int) -> Place:
        count = await history.count(self._connection, cart_id, erased or history.NEWEST)
        return Place("Postgres history", found=bool(count), detail=f"{count} changes of before")


def _is_state_of_before(record: Record, erased: int) -> bool:
    try:
        return record.value is not None and (not erased or decode_state(record.value).erased < erased)
    except RecordError:
        return True


def _is_change_of_before(record: Record, erased: int) -> bool:
    try:
        change = decode_change(record.value)
    except RecordError:
        return True
    return change.delta != (Erase(),) and (not erased or change.version < erased)


def _is_personal(record: Record) -> bool:
    try:
        order = decode_order(record.value)
    except RecordError:
        return True
    return erasure.plain_order(order) != order


def _waiting(
    topic: TopicSpec,
    records: Collection[Record],
    is_old: Callable[[Record], bool],
    replaced_at: datetime | None = None,
) -> Waiting | None:
    """The old ones among the records of a cart, and when the last of them is gone; None: there are none.

    `replaced_at`: when a compacted topic got what replaces them.
    """
    old = [record for record in records if is_old(record)]
    if not old:
        return None
    newest = datetime.fromtimestamp(max(record.timestamp for record in old) / 1000, UTC)
    return Waiting(topic.name, len(old), max(newest, replaced_at or newest) + topic.outlived_by)
