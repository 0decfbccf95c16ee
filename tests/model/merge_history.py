"""Histories of three carts: two guests' go into a user's while everything fails. `g.wipe` wipes one."""

from collections import Counter
from collections.abc import Callable

from carts.fold import Verdict, fold
from carts.merging import Strategy
from carts.operations import Add
from tests.model.checks import Broken, judge_topics, stores_agree
from tests.model.merge import GUESTS, USER, Merges
from tests.model.run import History
from tests.model.schedules import KINDS
from tests.model.world import RETENTION, STALE, TIMING, lines_of

MOST_WRITES = 6
"""Of each cart: every operation adds another power of four, and all of them end in one cart."""
_ROUNDS = 80
MOST_WAITS = STALE // 2
MOST_TIME = STALE - _ROUNDS
"""No cart gets so old that its copies count as absent: it would have been deleted, and its merge with it."""


class MergeHistory:
    """The processes of one history with merges, and their actions by name."""

    def __init__(self, kind: str) -> None:
        traits = KINDS[kind].traits
        self.strategy = Strategy(traits.merges)
        self.carts = {name: History(kind) for name in (USER, *GUESTS)}
        for position, history in enumerate(self.carts.values()):
            if self.strategy is Strategy.SUM:
                history.world.unit = 4 ** (position * MOST_WRITES)
            # Otherwise pieces of some operations go along and those of others do not.
            history.world.parts_were_ordered = self.strategy is not Strategy.SUM
        self.merges = Merges(self.carts, self.strategy)
        self.actions: dict[str, Callable[[int], None]] = {
            "begin": self.merges.begin,
            "step": self.merges.step,
            "kill": self.merges.killed,
            "recover": self.merges.recover,
        }

    @property
    def exercised(self) -> Counter[str]:
        """What the history has met."""
        return sum((history.world.exercised for history in self.carts.values()), Counter())

    @property
    def now(self) -> int:
        """The time of all carts."""
        return max(history.world.now for history in self.carts.values())

    def act(self, action: str, pick: int) -> None:
        """One tick and one action, of a cart or of the merges; none when it is late."""
        if self.now > MOST_TIME:
            return
        cart, _, name = action.rpartition(".")
        if cart == "m":
            self._tick()
            self.actions[name](pick)
            return
        history = self.carts[cart or USER]
        if name == "wait" and self.now + pick > MOST_WAITS:
            return
        if not name.startswith("write") or len(history.world.asked) < MOST_WRITES:
            history.actions[name](pick)
        self._tick()

    def _tick(self) -> None:
        """One clock for all."""
        now = 1 + self.now
        for history in self.carts.values():
            history.world.now = now

    def rest(self, bits: int) -> None:
        """Nothing fails any more: everybody finishes."""
        for position, history in enumerate(self.carts.values()):
            history.insist(bits >> MOST_WRITES * (1 + position))
        for _ in range(_ROUNDS):
            self._tick()
            busy = self.merges.rest()
            for history in self.carts.values():
                busy |= history.settle(
                    {op_id for place, op_id in enumerate(history.world.asked) if bits >> place & 1}
                )
            if not busy:
                return
        raise Broken("does not come to rest")

    def judge(self) -> None:
        """Raise Broken for the first promise that the history breaks."""
        for name, history in self.carts.items():
            judge_topics(history)
            if any(quantity < 0 for _, quantity in self._lines(name)):
                raise Broken(f"the cart {name} {self._lines(name)} has a negative line")
        self._nothing_is_left()
        if self.strategy is Strategy.SUM:
            self._each_once()
        else:
            self._as_one_clean_merge()
        for history in self.carts.values():
            stores_agree(history, history.compaction.owner.table)

    def describe(self) -> str:
        """One line for whoever watches."""
        return (
            " | ".join(f"{name}: {history.describe()}" for name, history in self.carts.items())
            + f" | runners {[(each.guest, each.step) for each in self.merges.runners]}"
        )

    def _lines(self, name: str) -> tuple[tuple[str, int], ...]:
        table = self.carts[name].compaction.owner.table
        return lines_of(table) if table is not None else ()

    def _nothing_is_left(self) -> None:
        for guest in self.merges.database.merges:
            history = self.carts[guest]
            table, copy = history.compaction.owner.table, history.world.redis.cart
            if table is None or table.merged_into is None:
                raise Broken(f"the merge of {guest} has not ended")
            known = copy.known if copy is not None else history.world.row
            if known is None or known.merged_into is None:
                raise Broken(f"Redis takes writes to {guest}, which is merged")
            if self._lines(guest):
                raise Broken(f"{guest} is merged and keeps a remainder {self._lines(guest)}")

    def _each_once(self) -> None:
        """Every operation adds its own power of four: it is in the carts and orders together once."""
        total = sum(dict(self._lines(name)).get("x", 0) for name in self.carts)
        total += sum(
            line.quantity
            for history in self.carts.values()
            for order in history.checkout.orders
            for line in order.lines
        )
        for name, history in self.carts.items():
            for position, op_id in enumerate(history.world.asked):
                times = total // (history.world.unit * 4**position) % 4
                if times > 1 or (op_id in history.world.acknowledged and times != 1):
                    raise Broken(f"{op_id} of a cart is counted {times} times, in {name}")

    def _as_one_clean_merge(self) -> None:
        """What the user has is what one merge of the carts gives, each with all that was ever added to it."""
        added = {name: self._added(name) for name in self.carts}
        for name in self.carts:
            placed = self.merges.database.placed(name)
            if placed and dict(lines_of(placed[0].user)).get("x", 0) != added[name]:
                return  # it was added to since
        found = dict(self._lines(USER)).get("x", 0)
        expected = self._clean(USER, added)
        if found not in expected:
            raise Broken(f"the user has {found} of {added}, not {expected}")

    def _clean(self, name: str, added: dict[str, int]) -> set[int]:
        """What a cart may have after one clean merge of each that goes into it, in any order."""
        merges = [each.merge for each in self.merges.database.merges.values()]
        coming = [self._clean(merge.guest, added) for merge in merges if merge.into == name]
        if self.strategy is Strategy.MAX:
            return {max([added[name], *(max(each) for each in coming)])}
        some = {quantity for each in coming for quantity in each if quantity}
        return {added[name]} if added[name] or not some else some

    def _added(self, name: str) -> int:
        """What the cart's own writers have added, as far as the fold has taken it."""
        state, steps = None, {}
        for change in self.carts[name].world.log:
            outcome = fold(state, change, retention_us=RETENTION, timing=TIMING)
            state = outcome.state
            if outcome.verdict is Verdict.CHANGED and not change.op_id.startswith("!"):
                steps[change.op_id] = change.delta
        return sum(step.quantity for delta in steps.values() for step in delta if isinstance(step, Add))
