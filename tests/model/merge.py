"""Merges: carts go into others, by whoever has a hand free; the database, and what must hold.

Mostly two guests' carts go into a user's. Where guests' carts go into each other, a cart passes on what one
merge has brought it. Each cart is a `History` of its own, with its Redis partition, topics and sinks. The
database is what none of the faults reaches: which merge a guest's cart has, and which transfers were decided,
first come first served.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from carts import merging
from carts import state as states
from carts.ids import claim_op_id
from carts.limits import MAX_SAFE_INTEGER, Limits
from carts.merging import Basis, Carried, Merge, Strategy, Transfer
from carts.operations import Delta
from carts.state import State
from tests.model import redis_mirror
from tests.model.redis_mirror import Applied, Refused, Request
from tests.model.world import CART, STALE, TIMING

if TYPE_CHECKING:
    from carts.state import Version
    from tests.model.run import History

USER: Final = "u"
GUESTS: Final = ("g", "h")
MOST_RUNNERS: Final = 4
LIMITS: Final = Limits(quantity=MAX_SAFE_INTEGER)
_ROW: Final = 1
"""The pick of the row in Postgres."""


@dataclass
class Begun:
    """The row of a merge. `looked` is the version of the guest's row at which nothing was left to carry."""

    merge: Merge
    done: bool = False
    looked: Version | None = None


@dataclass
class Decided:
    """The row of a transfer, and which of the two folded carts has been seen to have it."""

    transfer: Transfer
    guest: str
    into: str
    user: State
    merged: bool = False
    finished: bool = False


@dataclass
class Database:
    """The tables of merges."""

    merges: dict[str, Begun] = field(default_factory=dict)
    transfers: list[Decided] = field(default_factory=list)

    def of_guest(self, guest: str) -> list[Decided]:
        """The transfers out of a guest's cart, in order."""
        return [each for each in self.transfers if each.guest == guest]

    def placed(self, into: str) -> list[Decided]:
        """The transfers that bring a cart something, in order."""
        return [each for each in self.transfers if each.into == into and each.transfer.place]

    def number(self, cart: str, decided: Decided) -> int:
        """The number of a transfer in one of its two carts; 0: it is in neither."""
        if decided.guest == cart:
            return decided.transfer.number
        return decided.transfer.place if decided.into == cart else 0

    def latest(self, cart: str) -> Decided | None:
        """The latest transfer of a cart, out of it or into it."""
        return max(
            (each for each in self.transfers if self.number(cart, each)),
            key=lambda each: self.number(cart, each),
            default=None,
        )

    def next_out_of(self, cart: str) -> int:
        """The number of the next transfer out of a cart: those out of it and into it are one sequence."""
        latest = self.latest(cart)
        return 1 if latest is None else self.number(cart, latest) + 1

    def next_into(self, cart: str) -> int:
        """The number of the next transfer into a cart, in the same sequence."""
        return self.next_out_of(cart)

    def has_moved_on(self, runner: Runner) -> bool:
        """Whether somebody else has taken one of the two numbers."""
        numbers = self.next_out_of(runner.guest), self.next_into(runner.into)
        return (runner.number, runner.place) != numbers

    def may_begin(self, guest: str, into: str) -> bool:
        """Whether a cart may go into another: not into one that goes on into a third, or into this one."""
        return guest in self.merges or into not in self.merges


@dataclass
class Runner:
    """Somebody who carries a merge on: a request, the agent. It may die after each step."""

    guest: str
    into: str
    step: str = "begin"
    number: int = 0
    place: int = 0
    guest_snapshot: State | None = None
    user_snapshot: State | None = None
    decided: Decided | None = None
    legs: list[str] = field(default_factory=list)


class Merges:
    """Everybody who carries merges on, and the job that finds those that nobody does."""

    def __init__(self, carts: dict[str, History], strategy: Strategy) -> None:
        self.carts = carts
        self.strategy = strategy
        self.database = Database()
        self.runners: list[Runner] = []
        self.pairs = carts[USER].world.traits.pairs.split()
        for name, history in carts.items():
            history.checkout.may_order = partial(self._not_overtaken, name)
        self.exercised = carts[USER].world.exercised

    def _not_overtaken(self, guest: str, record: State) -> bool:
        """Whether a record of a cart that is to be ordered knows what was taken out of it."""
        transfers = self.database.of_guest(guest)
        return not transfers or self.guest_knows(guest, record, transfers[-1])

    def guest_knows(self, cart: str, snapshot: State, decided: Decided) -> bool:
        """Whether the folded cart that lines go out of has a transfer, in whichever role it was its."""
        return knows(snapshot, self.database.number(cart, decided), decided.transfer)

    def user_knows(self, cart: str, snapshot: State, decided: Decided) -> bool:
        """Whether the folded cart that lines go into has a transfer, in whichever role it was its."""
        return knows(snapshot, self.database.number(cart, decided), decided.transfer)

    # Actions

    def begin(self, pick: int) -> None:
        """Somebody logs in, perhaps again, perhaps on several devices at once."""
        if len(self.runners) < MOST_RUNNERS:
            pair = self.pairs[pick % len(self.pairs)]
            self.runners.append(Runner(guest=pair[0], into=pair[1]))

    def step(self, pick: int) -> None:
        """The next step of a merge."""
        if self.runners:
            self.advance(self.runners[pick % len(self.runners)], pick // 4)

    def killed(self, pick: int) -> None:
        """Whoever carries a merge on dies between two steps."""
        if self.runners:
            self.runners.pop(pick % len(self.runners))

    def recover(self, pick: int) -> None:
        """The job looks for what stopped half-way."""
        self.resume(pick)

    # Steps

    def advance(self, runner: Runner, pick: int) -> None:
        """One step: each may be the last of its process, each may have been done by another one."""
        match runner.step:
            case "begin":
                self._begin(runner)
            case "claim":
                if self._claim(runner.guest, pick):
                    runner.step = "deliver"
            case "deliver":
                if self._deliver(runner.guest) and self._deliver(runner.into):
                    runner.step = "guest"
            case "guest":
                self._take_guest(runner, pick)
            case "user":
                self._take_user(runner, pick)
            case "decide":
                self._decide(runner)
            case _:
                self._apply(runner, pick)

    def _begin(self, runner: Runner) -> None:
        """The transaction: of two who begin, the first one wins."""
        if not self.database.may_begin(runner.guest, runner.into):
            self.exercised["merges refused"] += 1
            self.runners.remove(runner)
            return
        merge = Merge(f"m{runner.guest}", runner.guest, runner.into, self.strategy)
        runner.into = self.database.merges.setdefault(runner.guest, Begun(merge)).merge.into
        runner.step = "claim"

    def _claim(self, guest: str, pick: int) -> bool:
        merge = self.database.merges[guest].merge
        return self._operate(guest, claim_op_id(merge.merge_id), merge.claim(), pick)

    def _deliver(self, cart: str) -> bool:
        history = self.carts[cart]
        if not history.world.redis.ready:
            return False
        for entry in history.world.redis.outbox:
            history.gateway.deliver(entry)
        return True

    def _take_guest(self, runner: Runner, pick: int) -> None:
        checkout = self.carts[runner.guest].checkout
        claim = claim_op_id(self.database.merges[runner.guest].merge.merge_id)
        snapshot = self._snapshot(runner.guest, pick, claim)
        latest = self.database.latest(runner.guest)
        if snapshot is None:
            runner.step = "deliver"
        elif not checkout.knows_latest(snapshot):
            self.exercised["transfers waiting for an order"] += 1
            checkout.subtract(checkout.orders[-1], pick)
            runner.step = "deliver"
        elif latest is not None and not self.guest_knows(runner.guest, snapshot, latest):
            self.exercised["transfers waiting for the last"] += 1
            self.exercised["transfers waiting for one into the same cart"] += latest.into == runner.guest
            self._catch_up(runner.guest, latest, pick)
            runner.step = "deliver"
        else:
            runner.number = self.database.next_out_of(runner.guest)
            runner.guest_snapshot = snapshot
            runner.step = "user"

    def _take_user(self, runner: Runner, pick: int) -> None:
        snapshot = self._snapshot(runner.into, pick)
        latest = self.database.latest(runner.into)
        if snapshot is None:
            runner.step = "deliver"
        elif latest is not None and not self.user_knows(runner.into, snapshot, latest):
            self.exercised["transfers waiting for another's"] += 1
            self._catch_up(runner.into, latest, pick)
            runner.step = "deliver"
        else:
            runner.place = self.database.next_into(runner.into)
            runner.user_snapshot = snapshot
            runner.step = "decide"

    def _catch_up(self, cart: str, latest: Decided, pick: int) -> None:
        """Do what somebody else has decided for a cart."""
        if latest.guest == cart:
            self._finish(latest, pick)
        else:
            self._merge_in(latest, pick)

    def _snapshot(self, cart: str, pick: int, ignored: str | None = None) -> State | None:
        """A record that has everything that Redis's copy has, but for the claim; None: not yet."""
        history = self.carts[cart]
        copy = history.world.redis.cart
        record = history.checkout.record(pick) or State()
        window = [entry for entry in copy.window if entry[1] != ignored] if copy is not None else []
        return None if states.uncovered(record, window) or not history.world.redis.ready else record

    def _decide(self, runner: Runner) -> None:
        """The transaction: two unique keys decide who is first."""
        database = self.database
        begun = database.merges[runner.guest]
        assert runner.guest_snapshot is not None
        ordered = not self.carts[runner.guest].checkout.knows_latest(runner.guest_snapshot)
        if ordered or database.has_moved_on(runner):
            self.exercised["transfers decided by somebody else"] += 1
            runner.step = "deliver"
            return
        assert runner.user_snapshot is not None
        transfer = merging.plan(
            begun.merge,
            Basis(runner.guest_snapshot, runner.user_snapshot),
            self._earlier(runner.guest),
            number=runner.number,
            place=runner.place,
            now_us=self.carts[USER].world.now,
            limits=LIMITS,
        )
        ended = any(each.transfer.is_last for each in database.of_guest(runner.guest))
        if ended and not transfer.carried:
            self._end(runner, runner.number - 1)
            return
        self.exercised["transfers"] += 1
        self.exercised["further transfers"] += bool(database.of_guest(runner.guest))
        runner.decided = Decided(transfer, runner.guest, runner.into, runner.user_snapshot)
        database.transfers.append(runner.decided)
        self._carry_further(runner.decided)
        runner.legs = ["merge", "finish"] if transfer.place else ["finish"]
        runner.step = "apply"

    def _carry_further(self, decided: Decided) -> None:
        """What goes into a cart that has been merged itself goes on from there."""
        further = self.database.merges.get(decided.into)
        if further is not None and decided.transfer.place:
            self.exercised["transfers into a merged cart"] += 1
            further.done = False

    def _end(self, runner: Runner, known: int) -> None:
        """Nothing is left to carry, unless something has come in since the transfer numbered `known`."""
        self.database.merges[runner.guest].done = self.database.next_out_of(runner.guest) == known + 1
        self.runners.remove(runner)

    def _earlier(self, guest: str) -> list[Carried]:
        return [line for each in self.database.of_guest(guest) for line in each.transfer.carried]

    def _apply(self, runner: Runner, pick: int) -> None:
        assert runner.decided is not None
        leg = runner.legs.pop(pick % len(runner.legs))
        if leg == "merge":
            self._merge_in(runner.decided, pick // 2)
        else:
            self._finish(runner.decided, pick // 2)
        if not runner.legs:
            if runner.decided.transfer.is_last:
                self._end(runner, runner.number)
            else:
                runner.step = "deliver"

    def _merge_in(self, decided: Decided, pick: int) -> bool:
        transfer = decided.transfer
        return self._operate(decided.into, transfer.merge_op_id, transfer.additions, pick)

    def _finish(self, decided: Decided, pick: int) -> bool:
        transfer = decided.transfer
        return self._operate(decided.guest, transfer.finish_op_id, transfer.withdrawal, pick)

    def _operate(self, cart: str, op_id: str, delta: Delta, pick: int) -> bool:
        history = self.carts[cart]
        world = history.world
        found = history.gateway.cold.bring_in()
        record = history.checkout.record(pick)
        request = Request(op_id, delta, world.now, found)
        redis, reply = redis_mirror.subtract(
            world.redis, record or State(), request, CART, world.redis_time, TIMING, STALE
        )
        if isinstance(reply, Applied):
            before = world.redis.cart
            world.commit(redis)
            history.gateway.check_subtraction(before)
        history.gateway.replied(reply, op_id)
        return not isinstance(reply, Refused)

    # The job

    def resume(self, pick: int) -> bool:
        """Apply what the folded carts lack, start what nobody finishes, look once more; whether any was."""
        busy = False
        for each in self.database.transfers:
            user = self.carts[each.into].world.row or State()
            row = self.carts[each.guest].world.row or State()
            each.merged |= not each.transfer.place or self.user_knows(each.into, user, each)
            each.finished |= self.guest_knows(each.guest, row, each)
            if not each.merged:
                self.exercised["legs of a dead runner"] += 1
                busy |= self._merge_in(each, pick)
            if not each.finished:
                busy |= self._finish(each, pick)
        for guest, begun in self.database.merges.items():
            busy |= self._look_again(guest, begun)
        return busy

    def _look_again(self, guest: str, begun: Begun) -> bool:
        if any(runner.guest == guest for runner in self.runners):
            return False
        if not begun.done:
            self.runners.append(Runner(guest, begun.merge.into, "claim"))
            return True
        row = self.carts[guest].world.row
        settled = all(each.merged and each.finished for each in self.database.of_guest(guest))
        if row is None or not settled or row.version == begun.looked:
            return False
        begun.looked = row.version
        if not merging.is_owing(row):
            return False
        self.exercised["merges taken up again"] += 1
        begun.done = False
        return True

    def rest(self) -> bool:
        """Let everybody finish; whether there was anything."""
        busy = bool(self.runners)
        for runner in list(self.runners):
            for _ in range(8):
                if runner in self.runners:
                    self.advance(runner, _ROW)
        return self.resume(_ROW) or busy


def knows(snapshot: State, number: int, transfer: Transfer) -> bool:
    """Whether a folded cart has its transfer of that number."""
    return merging.knows_transfer(snapshot, number, transfer.decided_version)
