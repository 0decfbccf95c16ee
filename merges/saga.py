"""Carries a merge on, from wherever it stands. Every step may be repeated, by anybody, at any time.

    begin    a row in `merges`: of two who begin, the first one decides who merges what into what
    claim    an operation on the guest's cart: it refuses writes from now on
    decide   a row in `merge_transfers`: what the other cart gets and what leaves the guest's
    apply    two operations, one on each cart, in any order
    and again, until nothing is left that could go along; the last transfer marks the guest's cart as merged

A decision is made on the rows of both carts, once they have all that Redis has, and know their last transfer.
What it says stands in the database for as long as somebody may have to do it.

A guest's cart may get the lines of another guest's, and go into a third cart then. All its transfers, in and
out, have one sequence of numbers, so each is decided on a row that knows the one before. Nothing can begin to
go into a cart that goes into another one itself, so nothing goes in a circle; what had begun before and comes
in afterwards goes on from there.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import msgspec
import psycopg

from carts import merging
from carts.content import shown
from carts.ids import claim_op_id
from carts.lifetime import GUEST_PREFIX
from carts.merging import Basis, Merge, Strategy, Transfer
from carts.ordering import may_follow
from carts.products import Facts
from carts.state import State
from runtime.clock import clock_us
from store.postgres import checkouts, merges, orders
from store.postgres.merges import LatestTransfer, StoredMerge, StoredTransfer
from store.postgres.order_records import PlacedOrder
from store.redis import Applied, CartStore, Decision, Reason, Refused, Replayed

CAUSE: Final = "merge"
AGAIN_S: Final = 0.05
_MOST_BEFORE: Final = 8
"""Merges into a guest's cart that its own merge carries on first."""

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


class GoesOn(Exception):
    """The cart that a guest's is to be merged into is merged into another one itself, `into`."""

    def __init__(self, into: str) -> None:
        super().__init__(into)
        self.into = into


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
        """Begin the merge of a guest's cart if it has none; the one it has, perhaps into another cart.

        Raises GoesOn.
        """
        merge = Merge(new_merge_id(), guest, into, strategy)
        if into.startswith(GUEST_PREFIX):
            return await self._database.transact(partial(_begin_into_a_guest, merge=merge))
        return await self._database.transact(partial(merges.begin, merge=merge))

    async def run(self, stored: StoredMerge, most_lines: int | None = None) -> None:
        """Carry the merge on to its end. Bound it with a timeout: it may be cut off after any step.

        Raises MergeWaits where it cannot go on now, TooManyLines where the guest's cart has more than
        `most_lines`, StoreError, psycopg.Error and what the ports raise; then nothing has to be undone.
        """
        if stored.is_open:
            await self._carry_on_before(stored.merge.guest, most_lines)
        await self._carry_on(stored, most_lines)

    async def _carry_on_before(self, guest: str, most_lines: int | None) -> None:
        """Carry on what is going into the guest's cart, for it to go along. What has to wait follows."""
        before = await self._database.transact(partial(merges.open_into, cart_id=guest, limit=_MOST_BEFORE))
        for stored in before:
            with suppress(MergeWaits):
                await self._carry_on(stored, most_lines)

    async def _carry_on(self, stored: StoredMerge, most_lines: int | None) -> None:
        merge = stored.merge
        await self._apply_unsettled(merge)
        if not stored.is_open:
            return
        await self._claim(merge)
        while True:
            number = await self._decide(merge, most_lines)
            if number is not None and await self._database.transact(partial(_end, merge=merge, known=number)):
                return

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

    async def _decide(self, merge: Merge, most_lines: int | None) -> int | None:
        """Decide the next transfer and apply it.

        The number of the guest's latest transfer if nothing is left to decide after it.
        """
        while True:
            guest = await self._guest(merge)
            if guest is None:
                continue
            lines = shown(guest.state.content())
            if most_lines is not None and len(lines) > most_lines:
                raise TooManyLines
            into = await self._cart(merge.into)
            if into is None:
                continue
            earlier = await self._database.transact(partial(merges.transfers, merge_id=merge.merge_id))
            facts = await self._catalogue.facts({line.product_id: None for _, line in lines})
            transfer = merging.plan(
                merge,
                Basis(guest.state, into.state, facts),
                [line for each in earlier for line in each.transfer.carried],
                number=guest.latest + 1,
                place=into.latest + 1,
                now_us=clock_us(),
            )
            if guest.state.merged_into is not None and not transfer.carried:
                return guest.latest
            try:
                await self._database.transact(partial(self._write, merge, transfer, guest, into, earlier))
            except _Overtaken:
                await asyncio.sleep(AGAIN_S)
                continue  # somebody else has decided meanwhile: look again
            await self._apply(merge, transfer, guest.state, into)
            return transfer.number if transfer.is_last else None

    async def _write(
        self,
        merge: Merge,
        transfer: Transfer,
        guest: "_Cart",
        into: "_Cart",
        earlier: list[StoredTransfer],
        connection: Connection,
    ) -> None:
        await merges.lock(connection, merge.guest, merge.into)
        if await checkouts.find_open(connection, merge.guest) is not None:
            raise MergeWaits("the guest's cart is being checked out")
        if (
            not _knows_order(guest.state, await orders.latest(connection, merge.guest))
            or await _has_moved_on(connection, merge.guest, guest.latest)
            or await _has_moved_on(connection, merge.into, into.latest)
        ):
            raise _Overtaken
        before = sum(len(each.transfer.carried) for each in earlier)
        await merges.attend(connection, merge.merge_id, before + len(shown(guest.state.content())))
        await merges.insert(connection, merge, transfer)
        if transfer.place:
            await merges.carry_further(connection, merge.into)

    async def _guest(self, merge: Merge) -> "_Cart | None":
        """The guest's folded cart, if it knows what was taken out of it before; None: look again."""
        cart = await self._cart(merge.guest, frozenset({claim_op_id(merge.merge_id)}))
        if cart is None:
            return None
        ordered = await self._database.transact(partial(orders.latest, cart_id=merge.guest))
        if ordered is not None and not _knows_order(cart.state, ordered):
            decision = Decision(ordered.record.order_id, ordered.subtraction)
            await self._catch_up(self._do(merge.guest, decision, cart.state))
            return None
        return cart

    async def _cart(self, cart_id: str, but: frozenset[str] = frozenset()) -> "_Cart | None":
        """The folded cart, if it knows its latest transfer, whatever merge that is of; None: look again."""
        found = await self._carts.deliver(cart_id, but)
        state = found.state or State()
        latest = await self._database.transact(partial(merges.latest, cart_id=cart_id))
        if latest is not None and not _knows(state, latest):
            if latest.guest == cart_id:
                await self._catch_up(self._finish(cart_id, latest.transfer, state))
            else:
                await self._catch_up(self._merge_in(cart_id, latest.transfer, state, found.forgotten_version))
            return None
        # Rows may have been forgotten that the cart knows.
        number = max(state.transfers, 0 if latest is None else latest.number)
        return _Cart(state, found.forgotten_version, number)

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
        guest, into = await asyncio.gather(self._carts.row(merge.guest), self._carts.row(merge.into))
        version = transfer.decided_version
        state = into.state or State()
        if transfer.place and not merging.knows_transfer(state, transfer.place, version):
            await self._merge_in(merge.into, transfer, state, into.forgotten_version)
        state = guest.state or State()
        if not merging.knows_transfer(state, transfer.number, version):
            await self._finish(merge.guest, transfer, state)

    async def _apply(self, merge: Merge, transfer: Transfer, guest: State, into: "_Cart") -> None:
        """Apply a transfer to both carts. What one of them refuses now is done later."""
        if transfer.place:
            await self._merge_in(merge.into, transfer, into.state, into.forgotten_version)
        await self._finish(merge.guest, transfer, guest)

    async def _merge_in(
        self, cart_id: str, transfer: Transfer, folded: State, forgotten_version: int
    ) -> None:
        decision = Decision(transfer.merge_op_id, transfer.additions, forgotten_version, CAUSE)
        outcome = await self._do(cart_id, decision, folded)
        await self._database.transact(
            partial(merges.note_version, transfer=transfer, cart_version=outcome.version.tag())
        )

    async def _finish(self, guest: str, transfer: Transfer, folded: State) -> None:
        decision = Decision(transfer.finish_op_id, transfer.withdrawal, cause=CAUSE)
        await self._do(guest, decision, folded)

    async def _do(self, cart_id: str, decision: Decision, folded: State | None) -> Applied | Replayed:
        outcome = await self._store.merge(cart_id, decision, folded)
        if isinstance(outcome, Refused):
            raise MergeWaits(outcome.reason.value)
        await self._carts.publish(outcome)
        return outcome


class _Overtaken(Exception):
    """Somebody else has decided on one of the two carts since its row was read."""


class _Cart(msgspec.Struct, frozen=True):
    """A folded cart that knows its transfers; `latest` is the number of the last one."""

    state: State
    forgotten_version: int
    latest: int


async def _begin_into_a_guest(connection: Connection, merge: Merge) -> StoredMerge:
    await merges.lock(connection, merge.guest, merge.into)
    further = await merges.of_guest(connection, merge.into)
    if further is not None and await merges.of_guest(connection, merge.guest) is None:
        raise GoesOn(further.merge.into)
    return await merges.begin(connection, merge)


async def _end(connection: Connection, merge: Merge, known: int) -> bool:
    """End the merge, unless something has come into the guest's cart since the transfer `known`."""
    await merges.lock(connection, merge.guest)
    if await _has_moved_on(connection, merge.guest, known):
        return False
    await merges.finish(connection, merge.merge_id)
    return True


async def _has_moved_on(connection: Connection, cart_id: str, known: int) -> bool:
    """Whether a cart has a later transfer than the one numbered `known`."""
    latest = await merges.latest(connection, cart_id)
    return latest is not None and latest.number > known


def new_merge_id() -> str:
    """An id of which later ones sort behind, so that an index grows at its end."""
    return f"m_{clock_us() // 1000:012x}{secrets.token_hex(10)}"


def _knows_order(state: State, latest: PlacedOrder | None) -> bool:
    return latest is None or may_follow(state, latest.snapshot_version)


def _knows(state: State, latest: LatestTransfer) -> bool:
    return merging.knows_transfer(state, latest.number, latest.transfer.decided_version)
