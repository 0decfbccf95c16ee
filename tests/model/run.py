"""Plays schedules, lets everything come to rest, judges, and shrinks what fails."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import msgspec

from tests.model.checkout import Checkout
from tests.model.checks import Broken, judge
from tests.model.faults import Faults
from tests.model.gateway import MOST_OPERATIONS, Gateway
from tests.model.restoring import Restore, Warm
from tests.model.schedules import KINDS, Schedule, schedule_of
from tests.model.sinks import AntiEntropy, Follow, PostgresSink
from tests.model.streams import Compaction, ExpiryJob
from tests.model.world import World

_ROUNDS = 60
_SHRINK_SECONDS = 6.0


class Failure(msgspec.Struct, frozen=True):
    """A history that breaks a promise."""

    kind: str
    seed: int
    schedule: Schedule
    bits: int
    problem: str

    @property
    def command(self) -> str:
        """The one line that plays it again."""
        return f"python -m tests.model --kinds {self.kind} --seed {self.seed}"


class Report(msgspec.Struct):
    """What a number of histories of a kind showed."""

    kind: str
    schedules: int = 0
    exercised: Counter[str] = msgspec.field(default_factory=Counter)
    failures: list[Failure] = msgspec.field(default_factory=list)


class History:
    """The processes of one history, and their actions by name."""

    def __init__(self, kind: str) -> None:
        self.world = World(KINDS[kind].traits)
        self.gateway = Gateway(self.world)
        self.compaction = Compaction(self.world)
        self.expiry = ExpiryJob(self.world, self.compaction)
        self.sink = PostgresSink(self.world)
        self.restore = Restore(self.world, self.compaction)
        self.warm = Warm(self.world)
        self.follow = Follow(self.world)
        self.anti_entropy = AntiEntropy(self.world)
        self.checkout = Checkout(self.world, self.gateway)
        self.faults = Faults(self.world, self.compaction)
        self.actions: dict[str, Callable[[int], None]] = {
            "write": self.gateway.write,
            "write_any": self.gateway.write_any,
            "write_for_postgres": self.gateway.write_for_postgres,
            "retry": self.gateway.retry,
            "look_up": self.gateway.look_up,
            "view": self.gateway.view,
            "read_row": self.gateway.read_row,
            "start_query": self.gateway.cold.start_query,
            "publish": self.gateway.publish,
            "acknowledge": self.gateway.acknowledge,
            "row_seen": self.gateway.row_seen,
            "remove": self.gateway.remove,
            "kill_gateway": self.gateway.killed,
            "sweep_read": self.gateway.sweep_read,
            "sweep_publish": self.gateway.sweep_publish,
            "kill_sweeper": self.gateway.sweeper_killed,
            "fold": self.compaction.fold,
            "fold_run": self.compaction.fold_run,
            "skip": self.compaction.skip,
            "changelog_ack": self.compaction.changelog_acknowledged,
            "changelog_refused": self.compaction.changelog_refused,
            "commit": self.compaction.commit,
            "kill_worker": self.compaction.killed,
            "move_worker": self.compaction.moved,
            "reread": self.compaction.answer,
            "zombie_folds": self.compaction.zombie_folds,
            "zombie_flushes": self.compaction.zombie_flushes,
            "lose_offsets": self.compaction.offsets_lost,
            "expire": self.expiry.expire,
            "purge": self.expiry.purge,
            "look_up_time": self.expiry.look_up_time,
            "trim": self.expiry.trim,
            "erase": self.expiry.erase,
            "erase_again": self.expiry.erase_again,
            "sink": self.sink.step,
            "kill_sink": self.sink.killed,
            "move_sink": self.sink.moved,
            "frozen_sink": self.sink.frozen_writes,
            "restore": self.restore.steps,
            "kill_restore": self.restore.killed,
            "warm": self.warm.steps,
            "kill_warm": self.warm.killed,
            "move_warm": self.warm.moved,
            "follow": self.follow.steps,
            "scan": self.anti_entropy.scan,
            "republish": self.anti_entropy.republish,
            "check_out": self.checkout.begin,
            "check_out_again": self.checkout.retry,
            "open_checkout": self.checkout.open,
            "complete": self.checkout.complete,
            "checkout": self.checkout.step,
            "kill_checkout": self.checkout.killed,
            "recover_orders": self.checkout.recover,
            "wipe": self.faults.wipe,
            "failover": self.faults.failover,
            "back_up": self.faults.back_up,
            "put_back": self.faults.put_back,
            "evict": self.faults.evict,
            "drop_expired": self.faults.drop_expired,
            "rows_fall": self.faults.rows_fall,
            "wait": self.faults.wait,
            "wait_long": self.faults.wait_long,
            "drop_old_log": self.faults.drop_old_log,
            "compact": self.faults.compact,
        }

    def act(self, action: str, pick: int) -> None:
        """One tick and one action; writes beyond what a sum can tell apart are left out."""
        self.world.now += 1
        if not action.startswith("write") or len(self.world.asked) < MOST_OPERATIONS:
            self.actions[action](pick)

    @property
    def exercised(self) -> Counter[str]:
        """What the history has met."""
        return self.world.exercised

    def judge(self) -> None:
        """Raise Broken for the first promise that the history breaks."""
        judge(self)

    def describe(self) -> str:
        """One line for whoever watches."""
        world, copy, table = self.world, self.world.redis.cart, self.compaction.owner.table
        return (
            f"redis {copy.window if copy else '-'}{'' if world.redis.ready else ' restoring'}"
            f" outbox {[entry.change.op_id for entry in world.redis.outbox]}"
            f" | log {[(change.version, change.op_id) for change in world.log]}"
            f" | table {[(op.version, op.op_id) for op in table.ops] if table else '-'}"
            f" floor {table.floor if table else '-'}"
            f" | acknowledged {sorted(world.acknowledged)}"
        )

    def insist(self, bits: int) -> None:
        """Of the replies under way, `bits` say which still get through."""
        for position, flight in enumerate(list(self.gateway.flights)):
            if bits >> position & 1 and (flight.published or self.gateway.publishable(flight)):
                if not flight.published:
                    self.world.publish(flight.entry.change)
                self.gateway.finish(flight)
        self.gateway.flights.clear()

    def rest(self, bits: int) -> None:
        """Nothing fails any more: every process finishes its work; `bits` say which clients insist."""
        self.insist(bits)
        retrying = {op_id for position, op_id in enumerate(self.world.asked) if bits >> 8 + position & 1}
        for _ in range(_ROUNDS):
            self.world.now += 1
            if not self.settle(retrying):
                return
        raise Broken("does not come to rest")

    def settle(self, retrying: set[str]) -> bool:
        """Let every process do what is left to do, once; whether there was anything."""
        busy = False
        while self.restore.step():
            busy = True
        busy |= self.gateway.rest(retrying)
        busy |= self.compaction.rest()
        while self.sink.take():
            busy = True
        while self.follow.step():
            busy = True
        busy |= self.checkout.rest()
        if self.world.traits.heals:
            busy |= self.anti_entropy.rest()
        return busy


class AnyHistory(Protocol):
    """What is played: a cart, or carts that are merged."""

    @property
    def exercised(self) -> Counter[str]:
        """What the history has met."""
        ...

    def act(self, action: str, pick: int) -> None:
        """One tick and one action."""
        ...

    def rest(self, bits: int) -> None:
        """Nothing fails any more."""
        ...

    def judge(self) -> None:
        """Raise Broken for the first promise that the history breaks."""
        ...

    def describe(self) -> str:
        """One line for whoever watches."""
        ...


def history_of(kind: str) -> AnyHistory:
    """The history that a kind of schedule is played on."""
    if not KINDS[kind].traits.merges:
        return History(kind)
    from tests.model.merge_history import MergeHistory  # noqa: PLC0415  # it is made of histories itself

    return MergeHistory(kind)


def play(
    kind: str, schedule: Schedule, bits: int, watch: Callable[[str, int, AnyHistory], None] | None = None
) -> AnyHistory:
    """Play a schedule to its rest and judge it; raise Broken. `watch` sees the history after each action."""
    history = history_of(kind)
    for action, pick in schedule:
        history.act(action, pick)
        if watch is not None:
            watch(action, pick, history)
    history.rest(bits)
    if watch is not None:
        watch("rest", bits, history)
    history.judge()
    return history


def problem_of(kind: str, schedule: Schedule, bits: int) -> str | None:
    """What is wrong after a schedule, none if nothing is."""
    try:
        play(kind, schedule, bits)
    except Broken as broken:
        return str(broken)
    return None


def explore(kind: str, seeds: Iterable[int], most_failures: int = 1, until: float = float("inf")) -> Report:
    """Play the schedules of `seeds`; stop after some failures, or when time.monotonic() reaches `until`."""
    report = Report(kind)
    for seed in seeds:
        if time.monotonic() > until:
            break
        report.schedules += 1
        schedule, bits = schedule_of(kind, seed)
        try:
            history = play(kind, schedule, bits)
        except Broken as broken:
            report.failures.append(Failure(kind, seed, schedule, bits, str(broken)))
            if len(report.failures) >= most_failures:
                break
        else:
            report.exercised.update({name: 1 for name, times in history.exercised.items() if times})
    return report


def shrink(failure: Failure, seconds: float = _SHRINK_SECONDS) -> Failure:
    """A shorter schedule that breaks the same promise."""
    until = time.monotonic() + seconds

    def fails(bits: int, schedule: Schedule) -> bool:
        if time.monotonic() > until:
            return False
        problem = problem_of(failure.kind, schedule, bits)
        return problem is not None and _sort(problem) == _sort(failure.problem)

    schedule, bits = failure.schedule, failure.bits
    smaller = True
    while smaller:
        before = schedule, bits
        for width in (8, 4, 2, 1):
            schedule = _without(schedule, width, partial(fails, bits))
        schedule = _lower_picks(schedule, partial(fails, bits))
        for bit in range(bits.bit_length()):
            if bits >> bit & 1 and fails(bits & ~(1 << bit), schedule):
                bits &= ~(1 << bit)
        smaller = (schedule, bits) != before
    problem = problem_of(failure.kind, schedule, bits) or failure.problem
    return Failure(failure.kind, failure.seed, schedule, bits, problem)


def _without(schedule: Schedule, width: int, fails: Callable[[Schedule], bool]) -> Schedule:
    position = 0
    while position < len(schedule):
        shorter = schedule[:position] + schedule[position + width :]
        if fails(shorter):
            schedule = shorter
        else:
            position += 1
    return schedule


def _lower_picks(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    for position, (action, pick) in enumerate(schedule):
        for lower in range(min(pick, 9)):
            changed = [*schedule[:position], (action, lower), *schedule[position + 1 :]]
            if fails(changed):
                schedule = changed
                break
    return schedule


def _sort(problem: str) -> str:
    """A problem without its particulars."""
    plain = [word for word in problem.split() if not any(c.isdigit() or c in "{(['" for c in word)]
    return " ".join(plain)[:40]
