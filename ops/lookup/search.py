"""A cart as each store has it, side by side, with its last operations, without what a shopper has written."""

import asyncio
from collections import deque
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition

from carts.operations import Change
from carts.protocol import Deleted
from carts.state import State
from carts.view import CartView, time_of, view
from ops.carts_index import CartsIndex
from ops.comparison import MEANING, Copies, discrepancies
from ops.copies import RedisCopies, Rows
from ops.overview.settings import OverviewSettings
from ops.progress import silent
from runtime.kafka.ranges import OffsetRange, RangeReader
from store.postgres import history, orders
from store.postgres.session import SessionConnection, connect
from store.redis import CartStore, Layout, PipelinedClient, Restoring, StoredCart
from topics.codec import decode_change
from topics.errors import RecordError
from topics.registry import CART_CHANGED

EVENTS: Final = 25
TAIL: Final = 20_000
"""So many offsets of `cart-changed` are read backwards at most, where there is no history."""
_SHOWN: Final = ("line_id", "quantity", "unit_price", "currency", "order_id", "merge_id", "into", "transfer")
"""Of a step; the rest is long, or a shopper has written it."""


class Line(msgspec.Struct, frozen=True):
    """A line: `unit_price` in minor units."""

    line_id: str
    product_id: str
    quantity: int
    unit_price: int
    options: dict[str, str]


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """What one store has of the cart, or in `note` why nothing is shown.

    `knows` names the metadata and details that there are; their values are the shopper's.
    """

    store: str
    note: str = ""
    version: str | None = None
    status: str | None = None
    currency: str | None = None
    subtotal: int | None = None
    updated_at: str | None = None
    lines: list[Line] = []
    knows: list[str] = []


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An operation of the cart; `steps` are what it did, without what a shopper has written."""

    version: int
    at: str
    op_id: str
    actor: str
    cause: str
    steps: list[str]
    place: str


class Difference(msgspec.Struct, frozen=True):
    """What a store says that `carts` does not, and what to do."""

    kind: str
    meaning: str
    detail: str
    do: str


class Order(msgspec.Struct, frozen=True):
    """An order of the cart."""

    order_id: str
    status: str
    placed_at: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All that there is of a cart. `waiting`: its changes in the Redis outbox."""

    cart_id: str
    partition: int
    copies: list[Copy]
    differences: list[Difference]
    waiting: int
    events: list[Event]
    events_from: str
    orders: list[Order]


class Lookup:
    """One search at a time: each reads a partition of `carts`."""

    def __init__(self, settings: OverviewSettings) -> None:
        self._settings: Final = settings
        self._layout: Final = Layout(settings.partitions)
        self._lock: Final = asyncio.Lock()

    async def find(self, cart_id: str) -> Found:
        """What there is of a cart, everywhere. Raises StoreError, psycopg.Error, KafkaError, ReadStalled."""
        settings = self._settings
        async with (
            self._lock,
            PipelinedClient(settings, name="cartstream-ops-lookup") as client,
            await connect(settings.postgres_address, name="cartstream-ops-lookup") as connection,
            RangeReader(settings) as reader,
        ):
            store, partition = CartStore(client, self._layout), self._layout.partition(cart_id)
            index = CartsIndex(partition, settings.partitions)
            # First what is furthest on: what comes meanwhile makes the others differ for a moment only.
            redis = await store.read(cart_id)
            redis_copies = await RedisCopies(client, self._layout).read([cart_id])
            table = Rows(connection)
            row_copies, row_states = await table.read([cart_id]), await table.states([cart_id])
            await index.read(reader, silent("", 0), only={cart_id})
            recorded = _recorded(index, cart_id)
            events, events_from = await self._events(connection, reader, cart_id, partition)
            return Found(
                cart_id=cart_id,
                partition=partition,
                copies=[
                    copy_of_redis(redis),
                    copy_of_record(cart_id, recorded),
                    copy_of_row(cart_id, row_states),
                ],
                differences=[]
                if isinstance(recorded, RecordError) or isinstance(redis, Restoring)
                else differences(
                    Copies(
                        partition=partition,
                        cart_id=cart_id,
                        recorded=recorded,
                        purge_floor=index.purge_floor,
                        redis=redis_copies.get(cart_id),
                        row=row_copies.get(cart_id),
                    )
                ),
                waiting=await self._waiting(store, partition, cart_id),
                events=events,
                events_from=events_from,
                orders=[
                    Order(each.order_id, each.status.value, each.placed_at.isoformat())
                    for each in await orders.of_cart(connection, cart_id, None, EVENTS)
                ],
            )

    async def _waiting(self, store: CartStore, partition: int, cart_id: str) -> int:
        entries = await store.outbox_read(partition, "0-0", TAIL)
        return sum(entry.cart_id == cart_id for entry in entries)

    async def _events(
        self, connection: SessionConnection, reader: RangeReader, cart_id: str, partition: int
    ) -> tuple[list[Event], str]:
        if self._settings.history:
            changes = await history.before(connection, cart_id, history.Position(history.NEWEST, ""), EVENTS)
            return [event_of(change, "") for change in changes], "the history in Postgres"
        place = TopicPartition(CART_CHANGED.name, partition)
        first, end = await reader.bounds(place)
        begin = max(first, end - TAIL)
        found: deque[Event] = deque(maxlen=EVENTS)
        async for records in reader.read({place: OffsetRange(begin, end)}):
            for record in records:
                if record.key == cart_id.encode():
                    found.appendleft(_event(record.value, f"{record.partition}/{record.offset}"))
        return list(found), f"{CART_CHANGED.name}/{partition}, offsets {begin:,} to {end:,}"


def _recorded(index: CartsIndex, cart_id: str) -> State | Deleted | RecordError | None:
    entry = index.entries.get(cart_id)
    try:
        return None if entry is None else entry.found()
    except RecordError as error:
        return error


def copy_of_redis(found: object) -> Copy:
    """What Redis has. Pure."""
    if isinstance(found, StoredCart):
        try:
            return _copy("Redis", found.view())
        except (KeyError, ValueError, msgspec.MsgspecError):
            return Copy(store="Redis", note="no cart that can be read: somebody has written it by hand")
    note = "its partition is being restored" if isinstance(found, Restoring) else "no such cart"
    return Copy(store="Redis", note=note)


def copy_of_record(cart_id: str, recorded: State | Deleted | RecordError | None) -> Copy:
    """What the topic `carts` has. Pure."""
    match recorded:
        case State():
            return _copy("Kafka: carts", view(cart_id, recorded))
        case Deleted():
            note = f"deleted, at version {recorded.version.tag()}"
        case RecordError():
            note = f"unreadable: {recorded}"
        case None:
            note = "no such cart"
    return Copy(store="Kafka: carts", note=note)


def copy_of_row(cart_id: str, states: list[tuple[str, str]]) -> Copy:
    """What Postgres has. Pure."""
    if not states:
        return Copy(store="Postgres", note="no such cart")
    try:
        state = msgspec.json.decode(states[0][1], type=State)
    except msgspec.MsgspecError as error:
        return Copy(store="Postgres", note=f"unreadable: {error}")
    return _copy("Postgres", view(cart_id, state))


def _copy(store: str, cart: CartView) -> Copy:
    details = [name for name, value in msgspec.structs.asdict(cart.details).items() if value is not None]
    return Copy(
        store=store,
        note=f"merged into {cart.merged_into}" if cart.merged_into else "",
        version=cart.version,
        status=cart.status,
        currency=cart.currency,
        subtotal=cart.totals.subtotal,
        updated_at=None if cart.updated_at is None else cart.updated_at.isoformat(),
        lines=[
            Line(line.line_id, line.product_id, line.quantity, line.unit_price, line.options)
            for line in cart.lines
        ],
        knows=[*sorted(cart.metadata), *details, *(f"saved {each.product_id}" for each in cart.saved)],
    )


def differences(copies: Copies) -> list[Difference]:
    """What `cartstream verify` would look at again; what is only in flight is among it. Pure."""
    return [
        Difference(each.kind, meaning, each.detail, do)
        for each in discrepancies(copies)
        for meaning, do in [MEANING[each.kind]]
    ]


def event_of(change: Change, place: str) -> Event:
    """An operation as it is shown. Pure."""
    moment = time_of(change.version)
    return Event(
        version=change.version,
        at="" if moment is None else moment.isoformat(),
        op_id=change.op_id,
        actor=change.actor or "",
        cause=change.cause or "",
        steps=[_step(msgspec.to_builtins(step)) for step in change.delta],
        place=place,
    )


def _event(value: bytes | None, place: str) -> Event:
    try:
        return event_of(decode_change(value), place)
    except RecordError as error:
        return Event(
            version=0, at="", op_id="", actor="", cause="", steps=[f"unreadable: {error}"], place=place
        )


def _step(step: dict[str, Any]) -> str:
    """Kind and what is shown of a step, in words."""
    item = step.get("item") or {}
    shown = [f"product {item['product_id']}"] if "product_id" in item else []
    shown += [f"{name.replace('_', ' ')} {step[name]}" for name in _SHOWN if step.get(name) is not None]
    return " · ".join([step["kind"], *shown])
