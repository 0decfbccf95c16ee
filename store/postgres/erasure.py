"""Erase what Postgres holds of a shopper beside the row of the cart, and tell compaction to erase the cart.

Orders stay for bookkeeping, with products and amounts. What a person has written, or is reached by, goes.
Each function works in the caller's transaction and raises psycopg.Error when Postgres fails.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import psycopg
from msgspec.structs import replace

from carts.details import NO_DETAILS
from carts.merging import Transfer
from carts.operations import Add, Change, Item, Save, Set, SetDetails, SetMetadata, Step
from store.postgres import abandonments, history, orders, outbox
from store.postgres.order_records import PricedSnapshot
from store.postgres.outbox import OutboxRecord
from store.postgres.queries import queries_of
from topics.codec import encode_change
from topics.headers import ERASURE, change_headers
from topics.records import OrderLine, OrderRecord
from topics.registry import CART_CHANGED, ORDERS

Connection = psycopg.AsyncConnection[Any]
T = TypeVar("T")

_query: Final = queries_of("erasure")
_encoder: Final = msgspec.json.Encoder()

_MAILS: Final = ["confirmation_mail", "cancellation_mail"]
"""The tasks of `sinks mail`."""


class PersonalRows(msgspec.Struct, frozen=True):
    """How many rows hold something personal, beside the row of the cart itself."""

    orders: int = 0
    checkouts: int = 0
    transfers: int = 0
    """Of merges."""
    mails: int = 0
    """Still to be sent, or refused."""
    links: int = 0
    """To the cart, in messages about a cart left behind."""

    @property
    def exist(self) -> bool:
        """Whether there is one."""
        return any(msgspec.structs.astuple(self))


class Erased(NamedTuple):
    """What an erasure has removed."""

    personal: PersonalRows
    changes: int
    """Rows of the history."""


class _Found(msgspec.Struct, frozen=True):
    """The rows that hold something personal, as they should be, by their keys; and the ids of all orders."""

    orders: list[OrderRecord]
    checkouts: dict[str, PricedSnapshot]
    transfers: dict[tuple[str, int], Transfer]
    order_ids: list[str]
    mails: int
    links: int

    def count(self) -> PersonalRows:
        return PersonalRows(
            len(self.orders), len(self.checkouts), len(self.transfers), self.mails, self.links
        )


async def find(connection: Connection, cart_id: str, until: datetime | None = None) -> PersonalRows:
    """What is there; with `until` only what was there by then."""
    return (await _find(connection, cart_id, until)).count()


async def order_ids(connection: Connection, cart_id: str) -> list[str]:
    """The ids of the cart's orders."""
    cursor = await connection.execute(_query("orders"), {"cart_id": cart_id, "until": None})
    return [order_id for order_id, _ in await cursor.fetchall()]


async def merged_guests(connection: Connection, cart_id: str) -> list[str]:
    """The guests' carts that were merged into this one."""
    cursor = await connection.execute(_query("merged_guests"), {"cart_id": cart_id})
    return [guest for (guest,) in await cursor.fetchall()]


async def erase(connection: Connection, change: Change) -> Erased:
    """Erase what is there, and write `change`, the erasure of the cart, to the outbox; what was erased."""
    await connection.execute(_query("lock_orders"), {"cart_id": change.cart_id})
    found = await _find(connection, change.cart_id, None)
    records = {"topic": ORDERS.name, "order_ids": [order.order_id for order in found.orders]}
    await connection.execute(_query("drop_order_records"), records)
    for order in found.orders:
        record = replace(order, version=order.version + 1)
        await _write(connection, "erase_order", record, order_id=order.order_id)
        await orders.publish(connection, record)
    for token, snapshot in found.checkouts.items():
        await _write(connection, "erase_checkout", snapshot, token=token)
    for (merge_id, number), transfer in found.transfers.items():
        await _write(connection, "erase_transfer", transfer, merge_id=merge_id, number=number)
    await connection.execute(_query("erase_mails"), {"order_ids": found.order_ids, "tasks": _MAILS})
    await abandonments.erase(connection, change.cart_id)
    changes = await history.erase(connection, [(change.cart_id, change.version)])
    headers = change_headers(change.cart_id, change.version, change.op_id, source=ERASURE)
    told = OutboxRecord(CART_CHANGED.name, change.cart_id, encode_change(change), headers)
    await outbox.write(connection, [told])
    return Erased(found.count(), changes)


def plain_order(order: OrderRecord) -> OrderRecord:
    """The order as bookkeeping needs it: products, amounts and times."""
    return OrderRecord(
        order_id=order.order_id,
        cart_id=order.cart_id,
        seq=order.seq,
        status=order.status,
        version=order.version,
        currency=order.currency,
        lines=_plain_lines(order.lines),
        totals=order.totals,
        placed_at=order.placed_at,
        cancelled_at=order.cancelled_at,
        adjustments=order.adjustments,
    )


def plain_snapshot(snapshot: PricedSnapshot) -> PricedSnapshot:
    """What a checkout offers, without what the shopper has written."""
    return replace(snapshot, lines=_plain_lines(snapshot.lines), details=NO_DETAILS)


def plain_transfer(transfer: Transfer) -> Transfer:
    """What a merge carries, without what the shopper has written."""
    return replace(transfer, additions=tuple(plain_step(step) for step in transfer.additions))


def plain_step(step: Step) -> Step:
    """A step without what the shopper has written."""
    match step:
        case Add() | Set():
            return replace(step, item=Item(step.item.product_id), metadata=None)
        case Save():
            return replace(step, item=Item(step.item.product_id), metadata={})
        case SetMetadata():
            return replace(step, metadata={})
        case SetDetails():
            return SetDetails()
        case _:
            return step


def _plain_lines(lines: Iterable[OrderLine]) -> list[OrderLine]:
    return [
        OrderLine(line.line_id, line.product_id, line.quantity, line.unit_price, line.name) for line in lines
    ]


async def _find(connection: Connection, cart_id: str, until: datetime | None) -> _Found:
    known = await _read(connection, "orders", cart_id, until, OrderRecord)
    checkouts = await _read(connection, "checkouts", cart_id, until, PricedSnapshot)
    transfers = await _read(connection, "transfers", cart_id, until, Transfer)
    order_ids = [order_id for (order_id,) in known]
    return _Found(
        orders=list(_personal(known, plain_order).values()),
        checkouts={token: plain for (token,), plain in _personal(checkouts, plain_snapshot).items()},
        transfers={(key[0], key[1]): plain for key, plain in _personal(transfers, plain_transfer).items()},
        order_ids=order_ids,
        mails=await _count(connection, "count_mails", cart_id=cart_id, order_ids=order_ids),
        links=await _count(connection, "count_links", cart_id=cart_id, until=until),
    )


async def _count(connection: Connection, name: str, **values: object) -> int:
    row = await (await connection.execute(_query(name), values)).fetchone()
    return 0 if row is None else int(row[0])


async def _read(
    connection: Connection, name: str, cart_id: str, until: datetime | None, kind: type[T]
) -> dict[tuple[Any, ...], T]:
    """The documents that a query finds, by the columns before them."""
    cursor = await connection.execute(_query(name), {"cart_id": cart_id, "until": until})
    return {
        tuple(key): msgspec.json.decode(document, type=kind) for *key, document in await cursor.fetchall()
    }


def _personal(found: dict[tuple[Any, ...], T], plain: Callable[[T], T]) -> dict[tuple[Any, ...], T]:
    """Those that differ from what may stay, as they should be."""
    return {key: after for key, before in found.items() if (after := plain(before)) != before}


async def _write(connection: Connection, name: str, document: msgspec.Struct, **key: object) -> None:
    await connection.execute(_query(name), {"document": _encoder.encode(document).decode(), **key})
