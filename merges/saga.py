"""Carries a merge on, from wherever it stands. Every step may be repeated, by anybody, at any time.

    begin    a row in `merges`: of two who begin, the first one decides who merges what into what
    claim    an operation on the guest's cart: it refuses writes from now on
    decide   a row in `merge_transfers`: what the user's cart gets and what leaves the guest's
    apply    two operations, one on each cart, in any order
    and again, until nothing is left that could go along; the last transfer marks the guest's cart as merged

A decision is made on the rows of both carts, once they have all that Redis has, and know the last transfer.
What it says stands in the database for as long as somebody may have to do it.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import msgspec
import psycopg
from psycopg.errors import UniqueViolation

from carts import merging
from carts.content import shown
from carts.ids import claim_op_id
from carts.merging import Basis, Merge, Strategy, Transfer
from carts.ordering import may_follow
from carts.products import Facts
from carts.state import State
from runtime.clock import clock_us
from store.postgres import checkouts, merges, orders
from store.postgres.merges import StoredMerge, StoredTransfer
from store.postgres.order_records import PlacedOrder
from store.redis import Applied, CartStore, Decision, Reason, Refused, Replayed

CAUSE: Final = "merge"
AGAIN_S: Final = 0.05

T = TypeVar("T")
Connection = psycopg.AsyncConnection[Any]
Work = Callable[[Connection], Awaitable[T]]


class MergeWaits(Exception):
    """The merge cannot go on now; ask again later. `reason` is a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooManyLines(Exception):
    """The guest's cart has more lines than whoever asked wants to carry itself."""


class Transactions(Protocol):
    """Does work in Postgres, in one transaction each."""

    async def transact(self, work: Work[T]) -> T:
        """What `work` returns; what it raises rolls the transaction back."""
        ...


class FoundCart(msgspec.Struct, frozen=True):
    """The row of a cart; `forgotten_version` is that of a row too old to count, which is left out."""

    state: State | None
    forgotten_version: int = 0


class Carts(Protocol):
    """Carts as a merge needs them."""

    async def deliver(self, cart_id: str, but: frozenset[str]) -> FoundCart:
        """The cart's row, once it has what Redis's copy had at the call, but for the operations `but`."""
        ...

    async def row(self, cart_id: str) -> FoundCart:
        """The cart's row as it is."""
        ...

    async def publish(self, outcome: Applied | Replayed) -> None:
        """Publish an operation that stands in the outbox, or leave it to a sweeper."""
        ...


class Catalogue(Protocol):
    """The products as they are now."""

    async def facts(self, product_ids: Iterable[str]) -> Mapping[str, Facts | None] | None:
        """What is known of each, None for one that is not; nothing at all where callers name the prices.

        Raises MergeWaits while the catalogue is not complete.
        """
        ...


class Saga:
    """Carries merges on with the means of one process."""

    def __init__(
        self,
        store: CartStore,
        database: Transactions,
        carts: Carts,
        catalogue: Catalogue,
    ) -> None:
        self._store: Final = store
        self._database: Final = database
        self._carts: Final = carts
        self._catalogue: Final = catalogue

    async def begin(self, guest: str, into: str, strategy: Strategy) -> StoredMerge:
        """Begin the merge of a guest's cart if it has none; the one it has, perhaps into another cart."""
        merge = Merge(new_merge_id(), guest, into, strategy)
        return await self._database.transact(partial(merges.begin, merge=merge))

    async def run(self, stored: StoredMerge, most_lines: int | None = None) -> None:
        """Carry the merge on to its end. Bound it with a timeout: it may be cut off after any step.

        Raises MergeWaits where it cannot go on now, TooManyLines where the guest's cart has more than
        `most_lines`, StoreError, psycopg.Error and what the ports raise; then nothing has to be undone.
        """
        merge = stored.merge
        await self._apply_unsettled(merge)
        if not stored.is_open:
            return
        await self._claim(merge)
        is_last = False
        while not is_last:
            transfer = await self._decide(merge, most_lines)
            is_last = transfer is None or transfer.is_last
        await self._database.transact(partial(merges.finish, merge_id=merge.merge_id))

    # Claim

    async def _claim(self, merge: Merge) -> None:
        """Make the guest's cart refuse writes."""
        found = await self._carts.deliver(merge.guest, frozenset())
        state = found.state
        if state is not None and (state.claim is not None or state.merged_into is not None):
            return
        decision = Decision(claim_op_id(merge.merge_id), merge.claim(), found.forgotten_version, CAUSE)
        await self._do(merge.guest, decision, state)

    # Decide

    async def _decide(self, merge: Merge, most_lines: int | None) -> Transfer | None:
        """Decide the next transfer and apply it; None if nothing is left to decide."""
        while True:
            guest = await self._guest(merge)
            if guest is None:
                continue
            if most_lines is not None and len(shown(guest.content())) > most_lines:
                raise TooManyLines
            user = await self._user(merge)
            if user is None:
                continue
            earlier = await self._database.transact(partial(merges.transfers, merge_id=merge.merge_id))
            facts = await self._catalogue.facts({line.product_id: None for _, line in shown(guest.content())})
            transfer = merging.plan(
                merge,
                Basis(guest, user.state, facts),
                [line for each in earlier for line in each.transfer.carried],
                number=_next(guest, (each.transfer.number for each in earlier)),
                place=_next(user.state, () if user.latest is None else (user.latest.transfer.place,)),
                now_us=clock_us(),
            )
            if guest.merged_into is not None and not transfer.carried:
                return None
            try:
                await self._database.transact(partial(self._write, merge, transfer, guest, earlier))
            except (UniqueViolation, _Overtaken):
                await asyncio.sleep(AGAIN_S)
                continue  # somebody else has decided meanwhile: look again
            await self._apply(merge, transfer, guest, user.state, user.forgotten_version)
            return transfer

    async def _write(
        self,
        merge: Merge,
        transfer: Transfer,
        guest: State,
        earlier: list[StoredTransfer],
        connection: Connection,
    ) -> None:
        await merges.lock_guest(connection, merge.guest)
        if await checkouts.find_open(connection, merge.guest) is not None:
            raise MergeWaits("the guest's cart is being checked out")
        if not _knows_order(guest, await orders.latest(connection, merge.guest)):
            raise _Overtaken
        before = sum(len(each.transfer.carried) for each in earlier)
        await merges.attend(connection, merge.merge_id, before + len(shown(guest.content())))
        await merges.insert(connection, merge, transfer)

    async def _guest(self, merge: Merge) -> State | None:
        """The guest's folded cart, if it knows what was taken out of it before; None: look again."""
        found = await self._carts.deliver(merge.guest, frozenset({claim_op_id(merge.merge_id)}))
        state = found.state or State()
        ordered = await self._database.transact(partial(orders.latest, cart_id=merge.guest))
        if ordered is not None and not _knows_order(state, ordered):
            decision = Decision(ordered.record.order_id, ordered.subtraction)
            await self._catch_up(self._do(merge.guest, decision, state))
            return None
        earlier = await self._database.transact(partial(merges.transfers, merge_id=merge.merge_id))
        if earlier and not _guest_knows(state, earlier[-1].transfer):
            await self._catch_up(self._finish(merge, earlier[-1].transfer, state))
            return None
        return state

    async def _user(self, merge: Merge) -> "_User | None":
        """The user's folded cart, if it knows what was brought into it before; None: look again."""
        found = await self._carts.deliver(merge.into, frozenset())
        state = found.state or State()
        latest = await self._database.transact(partial(merges.latest_into, cart_id=merge.into))
        if latest is not None and not _user_knows(state, latest.transfer):
            await self._catch_up(self._merge_in(merge.into, latest.transfer, state, found.forgotten_version))
            return None
        return _User(state, found.forgotten_version, latest)

    @staticmethod
    async def _catch_up(step: Awaitable[object]) -> None:
        """Do what somebody else has decided. The row may be from before the decision: then look again."""
        try:
            await step
        except MergeWaits as waits:
            if waits.reason != Reason.NO_RECORD:
                raise
            await asyncio.sleep(AGAIN_S)

    # Apply

    async def _apply_unsettled(self, merge: Merge) -> None:
        """Apply the latest transfer where a folded cart does not have it: whoever decided it may be dead."""
        earlier = await self._database.transact(partial(merges.transfers, merge_id=merge.merge_id))
        if not earlier or earlier[-1].settled:
            return
        transfer = earlier[-1].transfer
        guest, user = await asyncio.gather(self._carts.row(merge.guest), self._carts.row(merge.into))
        if transfer.place and not _user_knows(user.state or State(), transfer):
            await self._merge_in(merge.into, transfer, user.state or State(), user.forgotten_version)
        if not _guest_knows(guest.state or State(), transfer):
            await self._finish(merge, transfer, guest.state or State())

    async def _apply(
        self, merge: Merge, transfer: Transfer, guest: State, user: State, forgotten_version: int
    ) -> None:
        """Apply a transfer to both carts. What one of them refuses now is done later."""
        if transfer.place:
            await self._merge_in(merge.into, transfer, user, forgotten_version)
        await self._finish(merge, transfer, guest)

    async def _merge_in(
        self, cart_id: str, transfer: Transfer, folded: State, forgotten_version: int
    ) -> None:
        decision = Decision(transfer.merge_op_id, transfer.additions, forgotten_version, CAUSE)
        outcome = await self._do(cart_id, decision, folded)
        await self._database.transact(
            partial(merges.note_version, transfer=transfer, cart_version=outcome.version.tag())
        )

    async def _finish(self, merge: Merge, transfer: Transfer, folded: State) -> None:
        decision = Decision(transfer.finish_op_id, transfer.withdrawal, cause=CAUSE)
        await self._do(merge.guest, decision, folded)

    async def _do(self, cart_id: str, decision: Decision, folded: State | None) -> Applied | Replayed:
        outcome = await self._store.merge(cart_id, decision, folded)
        if isinstance(outcome, Refused):
            raise MergeWaits(outcome.reason.value)
        await self._carts.publish(outcome)
        return outcome


class _Overtaken(Exception):
    """Another one has taken quantities out of the guest's cart since its row was read."""


class _User(msgspec.Struct, frozen=True):
    """The user's folded cart, and the latest transfer into it."""

    state: State
    forgotten_version: int
    latest: StoredTransfer | None


def new_merge_id() -> str:
    """An id of which later ones sort behind, so that an index grows at its end."""
    return f"m_{clock_us() // 1000:012x}{secrets.token_hex(10)}"


def _next(state: State, numbers: Iterable[int]) -> int:
    """The number after every one that the database or the cart itself knows: rows may have been forgotten."""
    return 1 + max((state.transfers, *numbers))


def _knows_order(state: State, latest: PlacedOrder | None) -> bool:
    return latest is None or may_follow(state, latest.record.order_id, latest.snapshot_version)


def _guest_knows(state: State, transfer: Transfer) -> bool:
    return merging.knows_transfer(state, transfer.number, transfer.decided_version)


def _user_knows(state: State, transfer: Transfer) -> bool:
    return merging.knows_transfer(state, transfer.place, transfer.decided_version)
