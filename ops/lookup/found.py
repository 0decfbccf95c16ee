"""What is said of a cart that was looked up, without what a shopper has written. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from carts.operations import Change
from carts.protocol import Deleted
from carts.state import State
from carts.view import CartView, time_of, view
from ops.comparison import MEANING, Copies, discrepancies
from store.postgres.merges import StoredMerge
from store.redis import Restoring, StoredCart
from topics.codec import decode_change
from topics.errors import RecordError
from topics.records import OrderRecord

ABSENT: Final = "no such cart"
_SHOWN: Final = ("line_id", "quantity", "unit_price", "currency", "order_id", "merge_id", "into", "transfer")
"""Of a step; the rest is long, or a shopper has written it."""


class Line(msgspec.Struct, frozen=True):
    """A line: `unit_price` in minor units; an option's value is null where it is not to be shown."""

    line_id: str
    product_id: str
    quantity: int
    unit_price: int
    options: Mapping[str, str | None]


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """What one store has of the cart, or in `note` why nothing is shown.

    `unread`: whether it has the cart is not known.
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
    unread: bool = False


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


class Merge(msgspec.Struct, frozen=True):
    """A merge of the cart `guest` into the cart `into`; `finished_at` is null while it goes on."""

    merge_id: str
    guest: str
    into: str
    strategy: str
    lines: int
    began_at: str
    finished_at: str | None


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the cart's operations, newest last.

    `source` says where they were read, `known_from` how far back that goes, if it is known, and `older` what
    stands before the page before this one; null: there is none. `unread`: that it is in did not answer.
    """

    events: list[Event]
    source: str
    known_from: str | None = None
    older: str | None = None
    unread: bool = False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """All that there is of a cart. `waiting`: its changes in the Redis outbox; null: it did not answer.

    `orders` are the newest ones, newest first, `merges` the newest ones, newest last; `cut` names which of
    the two has older ones. `erased_at`: when it was erased last, if its state in `carts` knows.
    `dead_letters` is null where they were not looked for. `failures`: why something is not here, a sentence
    for each store that failed.
    """

    cart_id: str
    partition: int
    copies: list[Copy]
    differences: list[Difference]
    waiting: int | None
    past: Past
    orders: list[Order]
    merges: list[Merge]
    cut: list[str]
    erased_at: str | None
    dead_letters: list[dict[str, Any]] | None = None
    failures: list[str] = []

    @property
    def is_known(self) -> bool:
        """Whether anything was found."""
        parts = (self.waiting, self.past.events, self.orders, self.merges, self.dead_letters)
        return any(parts) or any(copy.note != ABSENT and not copy.unread for copy in self.copies)


def without_values(found: Found) -> Found:
    """What was found, without the values of options: a shopper may have written them. Pure."""
    replace = msgspec.structs.replace
    copies = [
        replace(copy, lines=[replace(line, options=dict.fromkeys(line.options)) for line in copy.lines])
        for copy in found.copies
    ]
    return replace(found, copies=copies)


def copy_unread(store: str) -> Copy:
    """What is shown of a store that failed. Pure."""
    return Copy(store=store, note="not known: it failed", unread=True)


def past_unread(*, history: bool) -> Past:
    """What is shown of the past where what it is read from failed. Pure."""
    return Past(events=[], source="the history in Postgres" if history else "cart-changed", unread=True)


def copy_of_redis(found: object) -> Copy:
    """What Redis has. Pure."""
    if isinstance(found, StoredCart):
        try:
            return _copy("Redis", found.view())
        except (KeyError, ValueError, msgspec.MsgspecError):
            return Copy(store="Redis", note="no cart that can be read: somebody has written it by hand")
    if isinstance(found, Restoring):
        return Copy(store="Redis", note="its partition is being restored", unread=True)
    return Copy(store="Redis", note=ABSENT)


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
            note = ABSENT
    return Copy(store="Kafka: carts", note=note)


def copy_of_row(cart_id: str, states: list[tuple[str, str]]) -> Copy:
    """What Postgres has. Pure."""
    if not states:
        return Copy(store="Postgres", note=ABSENT)
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
    return Event(
        version=change.version,
        at=_time(change.version),
        op_id=change.op_id,
        actor=change.actor or "",
        cause=change.cause or "",
        steps=[_step(msgspec.to_builtins(step)) for step in change.delta],
        place=place,
    )


def event_of_record(value: bytes | None, timestamp_ms: int, place: str) -> Event:
    """What a record of `cart-changed` says; one that nobody can read has the version of its time. Pure."""
    try:
        return event_of(decode_change(value), place)
    except RecordError as error:
        version = 2_000 * timestamp_ms
        return Event(
            version=version,
            at=_time(version),
            op_id="",
            actor="",
            cause="",
            steps=[f"unreadable: {error}"],
            place=place,
        )


def order_of(record: OrderRecord) -> Order:
    """An order as it is shown. Pure."""
    return Order(record.order_id, record.status.value, record.placed_at.isoformat())


def merge_of(stored: StoredMerge) -> Merge:
    """A merge as it is shown. Pure."""
    merge, finished = stored.merge, stored.finished_at
    return Merge(
        merge.merge_id,
        merge.guest,
        merge.into,
        merge.strategy.value,
        stored.lines_total,
        stored.began_at.isoformat(),
        None if finished is None or stored.is_open else finished.isoformat(),
    )


def erased_at(recorded: State | Deleted | RecordError | None) -> str | None:
    """When the cart was erased last, as far as `carts` knows. Pure."""
    return _time(recorded.erased) if isinstance(recorded, State) and recorded.erased else None


def _time(version: int) -> str:
    moment = time_of(version)
    return "" if moment is None else moment.isoformat()


def _step(step: dict[str, Any]) -> str:
    """Kind and what is shown of a step, in words."""
    item = step.get("item") or {}
    shown = [f"product {item['product_id']}"] if "product_id" in item else []
    shown += [f"{name.replace('_', ' ')} {step[name]}" for name in _SHOWN if step.get(name) is not None]
    return " · ".join([step["kind"], *shown])
