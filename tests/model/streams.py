"""Compaction with its table, its changelog and its zombies; and expiry, which expires and purges.

A new owner's table is what `carts` says: its local store holds that up to an offset, and it reads the rest.
A change of the table waits in `pending` for the acknowledgement of its changelog record: a crash between the
two is an ordinary step here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from carts import fold as folding
from carts import protocol
from carts.fold import Outcome, Verdict
from carts.operations import Change, Erase, Expire, Purge, Subtract, Trim
from carts.protocol import Deleted
from carts.state import State, Version
from tests.model import redis_mirror
from tests.model.world import CART, FROZEN_FLUSH, RETENTION, TIMING, World, lines_of, seen
from topics.records import PurgeFloor

Entry = State | Deleted | PurgeFloor
Known = tuple[Version, int] | Deleted | None


@dataclass
class Pending:
    """A changelog record that is not acknowledged yet, and the position of the event it came from."""

    entry: Entry
    position: int
    since: int


@dataclass
class Worker:
    """A compaction worker that owns the partition, or believes so."""

    table: State | None = None
    known: Known = None
    """The version and floor of the table, or what was last deleted from it."""
    purge_floor: int = 0
    position: int = 0
    pending: list[Pending] = field(default_factory=list)
    steps_left: int = 2
    """How much a worker that was taken its partition still does."""


class Compaction:
    """The owner of the partition and the one before it, frozen with records in its hands."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owner = Worker()
        self.zombie: Worker | None = None
        self.committed = 0
        self.furthest = 0
        self.lineages: dict[Known, tuple[int, ...]] = {None: ()}
        """For each state, or its deletion: the positions whose records made it, in order of folding."""
        self.skipped: set[int] = set()

    # The owner

    def fold_run(self, pick: int) -> None:
        """Fold a run of one to three records, and send what it has come to."""
        owner, first = self.owner, self.owner.position
        sent_before = len(owner.pending)
        self.fold(pick)
        sends = owner.pending[sent_before:]
        owner.pending[sent_before:] = of_a_run(sends, first)
        if len(owner.pending) < sent_before + len(sends):
            self.world.exercised["states of a run that nobody sees"] += 1

    def fold(self, pick: int) -> None:
        """Fold one to three records, each a run of its own."""
        for _ in range(1 + pick % 3):
            self.fold_next()

    def fold_next(self) -> bool:
        """Fold the next record; whether there was one."""
        world, owner = self.world, self.owner
        owner.position = max(owner.position, world.log_start)
        if owner.position >= len(world.log):
            return False
        change = world.log[owner.position]
        outcome = fold(owner, change)
        self.furthest = max(self.furthest, owner.position + 1)
        self._observe(owner, change, outcome)
        self._take(owner, outcome)
        return True

    def _take(self, worker: Worker, outcome: Outcome) -> None:
        lineage = (*self.lineages[worker.known], worker.position)
        if outcome.verdict is Verdict.CHANGED and outcome.state is not None:
            self._store(worker, outcome.state)
        elif outcome.verdict is Verdict.DELETED and worker.table is not None:
            worker.known = Deleted(worker.table.version)
            self._delete(worker, worker.known)
        self.lineages.setdefault(worker.known, lineage)
        worker.position += 1

    def _store(self, worker: Worker, state: State) -> None:
        worker.table = state
        worker.known = known_of(state)
        self._send(worker, state)

    def _delete(self, worker: Worker, deleted: Deleted) -> None:
        worker.table = None
        worker.purge_floor = max(worker.purge_floor, deleted.version.number)
        self._send(worker, PurgeFloor(worker.purge_floor))
        self._send(worker, deleted)

    def _send(self, worker: Worker, entry: Entry) -> None:
        worker.pending.append(Pending(entry, worker.position, self.world.now))

    def _observe(self, owner: Worker, change: Change, outcome: Outcome) -> None:
        world, before, after = self.world, owner.table, outcome.state
        if outcome.verdict in (Verdict.REFUSED, Verdict.DELETED, Verdict.BELOW_FLOOR):
            world.exercised[f"fold: {outcome.verdict}"] += 1
        if before is not None and after is not None and after != before:
            trimmed = isinstance(change.delta[0], Trim)
            if trimmed and (after.version != before.version or seen(after) != seen(before)):
                world.problem(f"a trim changes {before.version.tag()} to {after.version.tag()}")
            if not trimmed and protocol.rank(after.version) <= protocol.rank(before.version):
                world.problem(f"carts version does not rise: {before.version.tag()} -> {after.version.tag()}")
            world.exercised["floor moved"] += after.floor > before.floor
            world.exercised["forks and gaps"] += (
                change.previous_version is not None and change.previous_version != before.version_number
            )
            world.exercised["erasures"] += after.erased > before.erased
            world.exercised["trims"] += trimmed
            world.exercised["expiries"] += isinstance(change.delta[0], Expire)
            world.exercised["voided expiries"] += len(after.ops) + after.trimmed > before.operation_count + 1
        if after is not None:
            world.names(after.version, lines_of(after))
            entry = next(
                (
                    op
                    for op in after.ops
                    if op.version == change.version and isinstance(op.delta[0], Subtract)
                ),
                None,
            )
            world.exercised["orders renewed by the fold"] += entry is not None and entry.delta != change.delta
        if outcome.verdict is Verdict.DELETED and before is not None and lines_of(before):
            world.problem("purged a cart with lines")

    def skip(self, _pick: int) -> None:
        """The consumer loses a record, as the bugs did that the delivery layer is there for."""
        position = self.owner.position
        if self.furthest <= position < len(self.world.log) and len(self.skipped) < 2:
            self.world.exercised["records skipped"] += 1
            self.skipped.add(position)
            self.owner.position += 1

    def changelog_acknowledged(self, _pick: int) -> None:
        """The broker has the owner's oldest changelog record."""
        self.flush(self.owner)

    def changelog_refused(self, _pick: int) -> None:
        """The broker refuses it: the worker ends, nothing behind it is committed."""
        if self.owner.pending:
            self.world.exercised["changelog records refused"] += 1
            self.refused(0)

    def refused(self, _pick: int) -> None:
        """What a worker does about it."""
        self.owner.pending.clear()
        self.assign(0)

    def flush(self, worker: Worker) -> bool:
        """Write the worker's oldest changelog record to `carts`; whether there was one."""
        if not worker.pending:
            return False
        pending = worker.pending.pop(0)
        if self.world.now - pending.since > FROZEN_FLUSH:
            worker.pending.clear()
            if worker is self.owner:
                self.assign(0)
            return True
        self.world.emit(pending.entry)
        return True

    def commit(self, pick: int) -> None:
        """Commit some of the positions that may be committed."""
        top = committable(self.owner)
        if top > self.committed:
            self.committed += (top - self.committed) * (1 + pick % 2) // 2

    # Crashes and owners

    def killed(self, pick: int) -> None:
        """Kill -9: unacknowledged changelog records are gone, or one slipped out; a new owner comes."""
        self.world.exercised["changelog records lost in a crash"] += bool(self.owner.pending)
        if pick % 2:
            self.flush(self.owner)
        self.owner.pending.clear()
        self.assign(pick % 4 if pick > 40 else 0)

    def moved(self, _pick: int) -> None:
        """The owner freezes and another takes over; what the frozen one holds may come out later."""
        self.zombie = self.owner
        self.zombie.steps_left = 2
        self.owner = Worker()
        self.assign(0)

    def assign(self, back: int) -> None:
        """A new owner: table from `carts`, then the purge floor, position from the group, records again."""
        kept, floor = recovered(self.world), self.world.purge_floor
        self.owner = Worker(
            table=kept if isinstance(kept, State) else None,
            known=known_of(kept) if isinstance(kept, State) else self._deleted_at(floor),
            purge_floor=floor,
            position=max(self.world.log_start, self.committed - back),
        )
        self.answer()

    def _deleted_at(self, floor: int) -> Deleted | None:
        """The deletion that set the purge floor; its null may have been compacted away."""
        deletions = (known for known in self.lineages if isinstance(known, Deleted))
        return next((deleted for deleted in deletions if deleted.version.number == floor), None)

    def answer(self, _pick: int = 0) -> None:
        """The owner reads its changelog: a record that fell behind its table is answered with the table."""
        owner, last = self.owner, self.world.last_record()
        if owner.pending or last is None:
            return
        if not protocol.emit_again(owner.table, last, owner.purge_floor):
            self._read_again(owner, last)
            return
        self.world.exercised["emitted again"] += 1
        if owner.table is not None:
            self._store(owner, owner.table)
        else:
            self._delete(owner, Deleted(last.version))

    def _read_again(self, owner: Worker, last: State | Deleted) -> None:
        """Take the state of the same version that stands last: it may have been trimmed, or not yet."""
        if not isinstance(last, State) or owner.table in (None, last):
            return
        if protocol.keep_recovered(owner.table, last) is last:
            self.world.exercised["the same read with another window"] += 1
            owner.table, owner.known = last, known_of(last)

    def zombie_folds(self, _pick: int) -> None:
        """The one before the owner folds on, on its own table."""
        zombie, world = self.zombie, self.world
        if zombie is None or not zombie.steps_left or not world.log_start <= zombie.position < len(world.log):
            return
        zombie.steps_left -= 1
        outcome = fold(zombie, world.log[zombie.position])
        if outcome.verdict is Verdict.DELETED:
            zombie.steps_left = 0
        else:
            self._take(zombie, outcome)

    def zombie_flushes(self, _pick: int) -> None:
        """A changelog record of the one before the owner reaches the broker."""
        if self.zombie is not None and self.flush(self.zombie):
            self.world.exercised["zombie records"] += 1

    def offsets_lost(self, _pick: int) -> None:
        """The group's offsets are gone: everything that the log still has is read again."""
        self.owner.position = self.world.log_start

    # Coming to rest

    def settle(self) -> bool:
        """The owner gets its acknowledgements and answers what it reads; whether it had to answer."""
        while self.flush(self.owner):
            pass
        self.answer()
        answered = bool(self.owner.pending)
        while self.flush(self.owner):
            pass
        return answered

    def rest(self) -> bool:
        """Fold, flush and commit everything; whether there was anything."""
        busy = False
        while self.fold_next():
            busy = True
        for worker in filter(None, (self.owner, self.zombie)):
            while self.flush(worker):
                busy = True
        busy |= self.settle()
        self.committed = committable(self.owner)
        return busy


def fold(worker: Worker, change: Change) -> Outcome:
    """The product's fold with the worker's table."""
    return folding.fold(
        worker.table, change, purge_floor=worker.purge_floor, retention_us=RETENTION, timing=TIMING
    )


def known_of(state: State) -> Known:
    """What names a state: its floor too, for a trim leaves the version as it is."""
    return state.version, state.floor


def of_a_run(sends: Sequence[Pending], first: int) -> list[Pending]:
    """What is sent of a run that begins at `first`: of each key the last record, the floor first."""
    floors = [send for send in sends if isinstance(send.entry, PurgeFloor)]
    carts = [send for send in sends if not isinstance(send.entry, PurgeFloor)]
    return [replace(send, position=first) for send in (*floors[-1:], *carts[-1:])]


def committable(worker: Worker) -> int:
    """The position up to which everything stands in `carts`."""
    return min([worker.position, *(pending.position for pending in worker.pending)])


def recovered(world: World) -> State | Deleted | None:
    """The cart's record that a recovery keeps from all of `carts`."""
    kept: State | Deleted | None = None
    for entry in world.carts:
        if entry is not None:
            kept = entry if protocol.keep_recovered(kept, entry) is entry else kept
    return kept


class ExpiryJob:
    """Who publishes expiries and, long after, purges; and erasures, whenever somebody asks for one."""

    def __init__(self, world: World, compaction: Compaction) -> None:
        self.world = world
        self.compaction = compaction
        self.trims: list[int] = []
        """Until when everything was in the log or lost, as the job has found it."""

    def expire(self, _pick: int) -> None:
        """The cart has idled for too long, as far as the job knows."""
        state = self.compaction.owner.table
        if state is not None and not state.expired:
            self._publish(
                "expire", state, (Expire(state.version_number, state.operation_count, self.world.now),)
            )

    def purge(self, _pick: int) -> None:
        """The cart has been expired for the whole retention time, as far as the job knows."""
        state = self.world.last_state()
        if state is not None and state.expired and 2 * self.world.now - state.version_number >= 2 * RETENTION:
            self._publish(
                "purge", state, (Purge(state.version_number, state.operation_count, self.world.now),)
            )

    def erase(self, _pick: int) -> None:
        """Somebody wants everything forgotten that the cart holds by Redis's clock and copy."""
        world, copy = self.world, self.world.redis.cart
        newest = max(world.redis_time, copy.version.number // 2 if copy is not None else 0)
        world.publish(
            Change(cart_id=CART, version=2 * newest + 1, op_id=f"!erase/{newest}", delta=(Erase(),))
        )

    def erase_again(self, pick: int) -> None:
        """The record of an erasure is delivered once more, out of somebody's outbox."""
        erasures = [change for change in self.world.log if isinstance(change.delta[0], Erase)]
        if erasures:
            self.world.publish(erasures[pick % len(erasures)])

    def look_up_time(self, _pick: int) -> None:
        """The job that trims looks how far the log is: nothing older than D waits in Redis."""
        if len(self.trims) < 2 and self.published():
            self.trims.append(self.world.redis_time)

    def published(self) -> bool:
        """Whether nothing older than D waits in the outbox."""
        redis, now = self.world.redis, self.world.redis_time
        return protocol.publish_allowed(redis_mirror.backlog_us(redis, now), TIMING)

    def trim(self, pick: int) -> None:
        """It publishes what it has found, however late."""
        if self.trims:
            at = self.trims.pop(pick % len(self.trims))
            self.world.publish(Change(cart_id=CART, version=2 * at, op_id=f"!trim/{at}", delta=(Trim(at),)))

    def _publish(self, what: str, state: State, delta: tuple[Expire] | tuple[Purge]) -> None:
        self.world.publish(
            Change(
                cart_id=CART,
                version=state.version_number,
                op_id=f"!{what}:{state.version_number}-{state.operation_count}",
                delta=delta,
            )
        )
