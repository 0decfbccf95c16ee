"""Read and write the tables of merges, in the caller's transaction.

Raises psycopg.Error when Postgres fails.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import psycopg

from carts.merging import Merge, Strategy, Transfer
from carts.state import State
from store.postgres.queries import queries_of

Connection = psycopg.AsyncConnection[Any]

PATIENCE: Final = timedelta(minutes=10)
"""A record that the merge agent has not had for as long may be lost with its topic."""

_query: Final = queries_of("merges")
_encoder: Final = msgspec.json.Encoder()
_transfer: Final = msgspec.json.Decoder(Transfer)
_state: Final = msgspec.json.Decoder(State)


class StoredMerge(msgspec.Struct, frozen=True):
    """A merge as it stands. `lines_total` counts the lines the guest's cart had, those carried included.

    `is_open`: there may be something to carry on, also after it was finished for the first time.
    """

    merge: Merge
    lines_total: int
    is_open: bool
    began_at: datetime
    finished_at: datetime | None


class StoredTransfer(msgspec.Struct, frozen=True):
    """A decided transfer; `cart_version` is the tag of the user's cart with it, if anybody has noted it.

    `settled`: both folded carts were seen to have it.
    """

    transfer: Transfer
    cart_version: str | None
    settled: bool


class LatestTransfer(msgspec.Struct, frozen=True):
    """The latest transfer of a cart, out of it or into it; `number` is the one it has in the cart."""

    merge_id: str
    guest: str
    into: str
    number: int
    transfer: Transfer


class Unsettled(msgspec.Struct, frozen=True):
    """A transfer that the folded carts were not seen to have, with the states of their rows."""

    merge_id: str
    number: int
    transfer: Transfer
    guest: State | None
    user: State | None


class Changed(msgspec.Struct, frozen=True):
    """A merged guest's cart that has changed since it was last looked at."""

    merge_id: str
    version_number: int
    operation_count: int
    guest: State


class HandedOver(msgspec.Struct, frozen=True):
    """A merge for the merge agent."""

    merge_id: str
    guest: str
    into: str


async def begin(connection: Connection, merge: Merge) -> StoredMerge:
    """Begin a merge unless the guest's cart has one; the merge that it has."""
    await connection.execute(
        _query("begin_merge"),
        {
            "merge_id": merge.merge_id,
            "guest": merge.guest,
            "into_cart": merge.into,
            "strategy": merge.strategy.value,
        },
    )
    found = await of_guest(connection, merge.guest)
    if found is None:  # forgotten between the two statements, with its cart
        raise psycopg.errors.SerializationFailure
    return found


async def of_guest(connection: Connection, guest: str) -> StoredMerge | None:
    """The merge of a guest's cart."""
    return _stored(await _one(connection, "merge_of_guest", guest=guest))


async def find(connection: Connection, merge_id: str) -> StoredMerge | None:
    """The merge with this id."""
    return _stored(await _one(connection, "merge_by_id", merge_id=merge_id))


async def transfers(connection: Connection, merge_id: str) -> list[StoredTransfer]:
    """The transfers of a merge, in order."""
    cursor = await connection.execute(_query("transfers_of_merge"), {"merge_id": merge_id})
    return [_stored_transfer(row) for row in await cursor.fetchall()]


async def open_into(connection: Connection, cart_id: str, limit: int) -> list[StoredMerge]:
    """Merges into this cart that have not ended, the first ones first."""
    cursor = await connection.execute(_query("open_merges_into"), {"into_cart": cart_id, "limit": limit})
    return [merge for row in await cursor.fetchall() if (merge := _stored(row)) is not None]


async def of_cart(connection: Connection, cart_id: str, limit: int) -> list[StoredMerge]:
    """The newest merges out of the cart and into it, the newest one first."""
    cursor = await connection.execute(_query("merges_of_cart"), {"cart_id": cart_id, "limit": limit})
    return [merge for row in await cursor.fetchall() if (merge := _stored(row)) is not None]


async def latest(connection: Connection, cart_id: str) -> LatestTransfer | None:
    """The latest transfer of a cart, out of it or into it."""
    row = await _one(connection, "latest_transfer", cart_id=cart_id)
    if row is None:
        return None
    merge_id, guest, into, number, transfer = row
    return LatestTransfer(merge_id, guest, into, number, _transfer.decode(transfer))


async def lock(connection: Connection, *cart_ids: str) -> None:
    """Keep everybody else from deciding on transfers and orders of these carts until the transaction ends."""
    for cart_id in sorted(cart_ids):  # in the same order everywhere: nobody waits for one who waits for it
        await connection.execute(_query("lock_cart"), {"cart_id": cart_id})


async def latest_of_guest(connection: Connection, guest: str) -> StoredTransfer | None:
    """The latest transfer out of a guest's cart."""
    row = await _one(connection, "latest_transfer_of_guest", guest=guest)
    return None if row is None else _stored_transfer(row)


async def insert(connection: Connection, merge: Merge, transfer: Transfer) -> None:
    """Write a decided transfer, whose numbers nobody may have taken: see `lock` and `latest`."""
    await connection.execute(
        _query("insert_transfer"),
        {
            "merge_id": merge.merge_id,
            "number": transfer.number,
            "into_cart": merge.into,
            "place": transfer.place or None,
            "transfer": _encoder.encode(transfer).decode(),
        },
    )


async def attend(connection: Connection, merge_id: str, lines_total: int = 0) -> None:
    """Note that somebody carries the merge on, and how many lines it has at least."""
    await connection.execute(_query("attend_to_merge"), {"merge_id": merge_id, "lines_total": lines_total})


async def note_version(connection: Connection, transfer: Transfer, cart_version: str) -> None:
    """Note the version of the user's cart with a transfer, unless somebody has before."""
    await connection.execute(
        _query("note_cart_version"),
        {"merge_id": transfer.merge_id, "number": transfer.number, "cart_version": cart_version},
    )


async def finish(connection: Connection, merge_id: str) -> None:
    """Note that nothing is left that can go along."""
    await connection.execute(_query("finish_merge"), {"merge_id": merge_id})


async def carry_further(connection: Connection, cart_id: str) -> None:
    """Open the merge of a cart again that has ended, if it has one: something comes into the cart."""
    await connection.execute(_query("carry_further"), {"cart_id": cart_id})


async def unsettled(
    connection: Connection, after: tuple[str, int], grace: timedelta, limit: int
) -> list[Unsettled]:
    """Transfers not yet seen in both carts, in order after `after`; none younger than `grace`."""
    cursor = await connection.execute(
        _query("unsettled_transfers"),
        {"after_id": after[0], "after_number": after[1], "grace": grace, "limit": limit},
    )
    return [
        Unsettled(
            merge_id,
            number,
            _transfer.decode(transfer),
            None if guest is None else _state.decode(guest),
            None if user is None else _state.decode(user),
        )
        for merge_id, number, transfer, guest, user in await cursor.fetchall()
    ]


async def settle(connection: Connection, seen: Sequence[Unsettled]) -> None:
    """Note that both folded carts have these transfers, or will never need them."""
    await connection.execute(
        _query("settle_transfers"),
        {"merge_ids": [each.merge_id for each in seen], "numbers": [each.number for each in seen]},
    )


async def unattended(connection: Connection, grace: timedelta, limit: int) -> list[str]:
    """Open merges that nobody has carried on for `grace`, and nobody has a record of to come."""
    cursor = await connection.execute(
        _query("unattended_merges"), {"grace": grace, "patience": PATIENCE, "limit": limit}
    )
    return [merge_id for (merge_id,) in await cursor.fetchall()]


async def hand_over(connection: Connection, merge_ids: Sequence[str], grace: timedelta) -> list[HandedOver]:
    """Take merges for the merge agent; those that nobody has carried on for `grace`.

    Not those that it has a record of to come: it says `taken` when it is done with that.
    """
    cursor = await connection.execute(
        _query("hand_over"), {"merge_ids": list(merge_ids), "grace": grace, "patience": PATIENCE}
    )
    return [HandedOver(*row) for row in await cursor.fetchall()]


async def taken(connection: Connection, merge_id: str) -> None:
    """Note that the merge agent is done with its record of a merge: finished, or left to the job."""
    await connection.execute(_query("taken_merge"), {"merge_id": merge_id})


async def changed(connection: Connection, after_id: str, watched: timedelta, limit: int) -> list[Changed]:
    """Guests' carts that have changed since their merge, of the last `watched`, has ended."""
    cursor = await connection.execute(
        _query("changed_guests"), {"after_id": after_id, "watched": watched, "limit": limit}
    )
    return [
        Changed(merge_id, v, n, _state.decode(state)) for merge_id, v, n, state in await cursor.fetchall()
    ]


async def note_looks(connection: Connection, looks: Sequence[Changed]) -> None:
    """Note that guests' carts were looked at as they are in `looks`."""
    await connection.execute(
        _query("note_looks"),
        {
            "merge_ids": [each.merge_id for each in looks],
            "v": [each.version_number for each in looks],
            "n": [each.operation_count for each in looks],
        },
    )


async def take_up_again(connection: Connection, merge_ids: Sequence[str]) -> None:
    """Open finished merges again: their guests' carts hold lines."""
    await connection.execute(_query("take_up_again"), {"merge_ids": list(merge_ids)})


async def forget(connection: Connection, kept: timedelta, limit: int) -> int:
    """Delete merges that ended `kept` ago and whose guest's cart is gone; how many."""
    return (await connection.execute(_query("forget_merges"), {"kept": kept, "limit": limit})).rowcount


async def _one(connection: Connection, name: str, **parameters: object) -> tuple[Any, ...] | None:
    cursor = await connection.execute(_query(name), parameters)
    row: tuple[Any, ...] | None = await cursor.fetchone()
    return row


def _stored(row: tuple[Any, ...] | None) -> StoredMerge | None:
    if row is None:
        return None
    merge_id, guest, into, strategy, lines_total, is_open, began_at, finished_at = row
    merge = Merge(merge_id, guest, into, Strategy(strategy))
    return StoredMerge(merge, lines_total, is_open, began_at, finished_at)


def _stored_transfer(row: tuple[Any, ...]) -> StoredTransfer:
    transfer, cart_version, settled = row
    return StoredTransfer(_transfer.decode(transfer), cart_version, settled)
