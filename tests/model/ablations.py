"""The table: each guard of the protocol, how a test takes it away, and what then fails.

The product has no switches; an ablation replaces one function (of the product where the rule lives there) while
histories of the kinds named are played.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import msgspec

from carts import fold as folding
from carts import protocol
from carts import state as states
from carts.fold import Outcome, Verdict
from carts.limits import Timing
from carts.operations import Change, Delta, Expire, Operation, Purge
from carts.protocol import Durability, Put, Recorded
from carts.state import EXPIRY_PREFIX, State, Version
from tests.model import streams
from tests.model.run import Failure, explore
from tests.model.streams import Compaction, Worker
from tests.model.world import World

_SEEDS = 600

Replacement = Callable[..., Any]


class Ablation(msgspec.Struct, frozen=True):
    """A guard, what it says, what replaces it, where histories find out, and how."""

    guard: str
    rule: str
    without: dict[str, Replacement]
    kinds: str
    fails: str
    """How the problem begins that the first failing history shows."""
    seed: int
    """Where the search begins: seeds from here on."""


@contextmanager
def taken_away(ablation: Ablation) -> Iterator[None]:
    """Play without the guard."""
    with ExitStack() as stack:
        for target, replacement in ablation.without.items():
            stack.enter_context(mock.patch(target, replacement))
        yield


def counterexample(ablation: Ablation) -> Failure | None:
    """The first history that breaks without the guard, of a bounded number."""
    with taken_away(ablation):
        for kind in ablation.kinds.split():
            report = explore(kind, range(ablation.seed, ablation.seed + _SEEDS))
            if report.failures:
                return report.failures[0]
    return None


_trim, _fold, _write, _void = states.trim, folding.fold, folding._write, folding._voids
_put_verdict, _recovered = protocol.put_verdict, streams.recovered


def _always(*_: object) -> bool:
    return True


def _never(*_: object) -> bool:
    return False


def _nothing(*_: object, **__: object) -> list[Any]:
    return []


def _trim_without_floor(state: State, timing: Timing) -> State:
    return msgspec.structs.replace(_trim(state, timing), floor=0)


def _first_birth_only(state: State, change: Change, timing: Timing) -> Outcome:
    known = any(op.op_id == change.op_id for op in state.ops)
    return Outcome(state, Verdict.KNOWN) if known else _write(state, change, timing)


def _uncovered_by_id(state: State, window: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    known = {op.op_id for op in state.ops} | set(state.orders)
    return [(v, op_id) for v, op_id in window if v > state.floor and op_id not in known]


def _put_newer_only(state: State, version: Version | None, window: list[tuple[int, str]]) -> Put:
    verdict = _put_verdict(state, version, window)
    older = version is not None and protocol.rank(state.version) <= protocol.rank(version)
    return Put.SAME if verdict is Put.SET and older else verdict


def _row_of_lines(world: World) -> State | None:
    if world.row is None:
        return None
    version = world.row.version
    return State(base=world.row.content(), trimmed=version.n, trimmed_digest=version.digest)


def _drop_and_go_on(compaction: Compaction, pick: int) -> None:
    compaction.owner.pending.clear()


def _keep_last(kept: Recorded | None, read: Recorded) -> Recorded:
    return read


def _keep_local_store(compaction: Compaction, back: int) -> None:
    own = compaction.owner
    kept, floor = _recovered(compaction.world)
    compaction.owner = Worker(
        table=own.table or (kept if isinstance(kept, State) else None),
        known=own.known or (kept.version if isinstance(kept, State) else kept),
        purge_floor=max(floor, own.purge_floor),
        position=max(compaction.world.log_start, compaction.committed - back),
    )


def _skip_some(compaction: Compaction, _fold_next: Replacement = Compaction.fold_next) -> bool:
    if compaction.owner.position % 5 == 3 and compaction.owner.position >= compaction.furthest:
        compaction.skipped.add(compaction.owner.position)
        compaction.owner.position += 1
    return bool(_fold_next(compaction))


def _expire_at_once(state: State | None, step: Expire) -> Outcome:
    current = state is not None and (state.v, state.n) == (step.seen, step.seen_n)
    return Outcome(None, Verdict.DELETED) if current else Outcome(state, Verdict.KNOWN)


def _void_exact(state: State, change: Change) -> list[Operation]:
    exact = [
        op for op in state.ops for step in op.delta if isinstance(step, Expire) and step.seen == change.prev
    ]
    return _void(state, change) if exact else []


def _expire_old_clock(
    state: State | None, step: Expire, _expire: Callable[[State | None, Expire], Outcome] = folding._expire
) -> Outcome:
    outcome = _expire(state, msgspec.structs.replace(step, at=0))
    if outcome.verdict is not Verdict.CHANGED or outcome.state is None:
        return outcome
    ops = tuple(
        msgspec.structs.replace(op, delta=(step,))
        if op.op_id.startswith(EXPIRY_PREFIX) and op.delta[0].at == 0
        else op
        for op in outcome.state.ops
    )
    return Outcome(msgspec.structs.replace(outcome.state, ops=ops), outcome.verdict)


def _newest_of_all(ops: Iterable[Operation]) -> int:
    return max((op.v for op in ops), default=0)


def _fold_without_purge_floor(
    state: State | None, change: Change, *, purge_floor: int, **options: Any
) -> Outcome:
    return _fold(state, change, **options)


def _purge_whatever(state: State | None, step: Purge, retention_us: int) -> Outcome:
    return Outcome(state, Verdict.KNOWN) if state is None else Outcome(None, Verdict.DELETED)


def _republish_any_age(v: int, now_us: int, in_outbox: bool, timing: Timing) -> bool:
    return not in_outbox


def _publish_past_backlog(waited_us: int, backlog_us: int, timing: Timing) -> bool:
    return waited_us <= timing.publish_deadline_us


def _publish_late(waited_us: int, backlog_us: int, timing: Timing) -> bool:
    return backlog_us <= timing.publish_deadline_us


def _replay_is_kafka(in_outbox: bool) -> Durability:
    return Durability.KAFKA


def _commit_all(worker: Worker) -> int:
    return worker.position


ABLATIONS = (
    Ablation(
        "window",
        "an operation in Redis's window is a replay",
        {"tests.model.redis_mirror.knows": _never},
        "plain",
        "Redis shows an operation twice",
        0,
    ),
    Ablation(
        "floor",
        "a change at or below the floor has been counted",
        {"carts.fold.trim": _trim_without_floor},
        "backlog",
        "o0 is applied 3 times",
        100,
    ),
    Ablation(
        "order",
        "entries count in version order, however they arrive",
        {"carts.fold.ordered": tuple},
        "mixed",
        "carts version does not rise",
        0,
    ),
    Ablation(
        "second births",
        "an operation born twice is kept twice, the higher counts",
        {"carts.fold._write": _first_birth_only},
        "failover",
        "Redis (",
        80,
    ),
    Ablation(
        "put if covering",
        "a put replaces only a copy whose operations it contains",
        {"carts.protocol.uncovered": _nothing},
        "failover",
        "put hides o3",
        0,
    ),
    Ablation(
        "covering births",
        "it contains them at their version or a higher one",
        {"carts.protocol.uncovered": _uncovered_by_id},
        "mixed",
        "put hides o2",
        60,
    ),
    Ablation(
        "coverage alone decides",
        "a put does not compare versions",
        {"carts.protocol.put_verdict": _put_newer_only},
        "backlog",
        "Redis (",
        3560,
    ),
    Ablation(
        "restore token",
        "a restore goes on only in the Redis that it began in",
        {"carts.protocol.restore_continues": _always},
        "all",
        "restored None is not the fold",
        80,
    ),
    Ablation(
        "follow position",
        "the position of follow is in Redis and falls back with it",
        {"carts.protocol.follow_continues": _always, "tests.model.sinks.Follow.resume": _never},
        "failover",
        "Redis None is not carts",
        460,
    ),
    Ablation(
        "whole row",
        "Postgres keeps the whole state, not only the lines",
        {"tests.model.world.World.hydration_row": _row_of_lines},
        "evict",
        "Redis shows an operation twice",
        1810,
    ),
    Ablation(
        "replay reply",
        "a replay says kafka only when its outbox entry is gone",
        {"carts.protocol.replay_durability": _replay_is_kafka},
        "plain",
        "reply says kafka",
        0,
    ),
    Ablation(
        "removal by operation",
        "an acknowledgement removes only its own outbox entry",
        {"carts.protocol.removes": _always},
        "late_removal",
        "reply says kafka",
        0,
    ),
    Ablation(
        "backlog",
        "nothing is published past an outbox entry older than D",
        {"carts.protocol.publish_allowed": _publish_past_backlog},
        "backlog",
        "o0 is lost",
        30,
    ),
    Ablation(
        "publish deadline",
        "a gateway publishes within D of its script",
        {"carts.protocol.publish_allowed": _publish_late},
        "backlog",
        "acknowledged o4 is lost",
        890,
    ),
    Ablation(
        "sweeper",
        "a sweeper publishes within D of reading",
        {"carts.protocol.sweep_allowed": _always},
        "late_sweeper",
        "o0 is applied 2 times",
        100,
    ),
    Ablation(
        "retry horizon",
        "the script refuses a request first sent too long ago",
        {"carts.protocol.request_in_time": _always},
        "backlog",
        "Redis shows an operation twice",
        0,
    ),
    Ablation(
        "highest record",
        "a recovery keeps the highest record of a cart, not the last",
        {"carts.protocol.keep_recovered": _keep_last},
        "late_flush",
        "o1 is lost",
        0,
    ),
    Ablation(
        "emit again",
        "the owner answers a record that fell behind its table",
        {"carts.protocol.emit_again": _never},
        "zombie",
        "carts holds another state",
        95,
    ),
    Ablation(
        "commit guard",
        "a position is committed behind its acknowledged changelog record",
        {"tests.model.streams.committable": _commit_all},
        "crash",
        "o1 is lost",
        50,
    ),
    Ablation(
        "refused send",
        "a worker whose changelog record is refused ends",
        {"tests.model.streams.Compaction.refused": _drop_and_go_on},
        "crash",
        "o0 is lost",
        320,
    ),
    Ablation(
        "contiguity",
        "the consumer hands over every record",
        {"tests.model.streams.Compaction.fold_next": _skip_some},
        "plain",
        "o4 is lost",
        0,
    ),
    Ablation(
        "unclean store",
        "a table that was not closed cleanly is rebuilt from carts",
        {"tests.model.streams.Compaction.assign": _keep_local_store},
        "crash",
        "carts holds another state",
        325,
    ),
    Ablation(
        "row guard",
        "the sink replaces a row by a higher version only",
        {"carts.protocol.row_replaced": _always},
        "zombie",
        "the row falls",
        95,
    ),
    Ablation(
        "expired states",
        "an expired cart is a state, not a deletion",
        {"carts.fold._expire": _expire_at_once},
        "expire",
        "purged a cart with lines",
        10,
    ),
    Ablation(
        "void",
        "a write that did not know of an expiry revives the cart",
        {"carts.fold._voids": _nothing},
        "expire",
        "the cart () is not the changes",
        10,
    ),
    Ablation(
        "void by ignorance",
        "so does a write that the expiry did not know, not only the next one",
        {"carts.fold._voids": _void_exact},
        "expire",
        "the cart",
        30,
    ),
    Ablation(
        "expiry clock",
        "an expiry gets its version from the clock",
        {"carts.fold._expire": _expire_old_clock},
        "late_write",
        "the cart",
        0,
    ),
    Ablation(
        "expiries are no writes",
        "an expiry does not move the floor",
        {"carts.state.newest_write": _newest_of_all},
        "idle_backlog",
        "o2 is lost",
        0,
    ),
    Ablation(
        "anti-entropy",
        "what Redis knows, carts does not and no outbox holds is published again",
        {"tests.model.sinks.AntiEntropy.look": _never},
        "skip",
        "Redis (",
        90,
    ),
    Ablation(
        "republishing age",
        "but nothing so old that the floor or a retry may have passed it",
        {"carts.protocol.may_republish": _republish_any_age},
        "late_healing",
        "o0 is applied 2 times",
        570,
    ),
    Ablation(
        "purge floor",
        "nothing at or below the highest version deleted comes back",
        {"carts.fold.fold": _fold_without_purge_floor},
        "delete",
        "acknowledged o0 is lost",
        0,
    ),
    Ablation(
        "stale copies",
        "a copy or row that lay untouched for too long counts as absent",
        {"carts.protocol.too_stale": _never},
        "delete_late",
        "version falls in Redis",
        0,
    ),
    Ablation(
        "deletion clears",
        "a null clears only a copy that knows nothing newer",
        {"carts.protocol.deletion_clears": _always},
        "delete",
        "the deletion of",
        0,
    ),
    Ablation(
        "deletion of rows",
        "a null deletes only a row that is not newer",
        {"carts.protocol.row_deleted": _always},
        "delete_zombie",
        "the deletion of",
        200,
    ),
    Ablation(
        "purge guard",
        "a purge deletes only the expired state that it has seen, long enough ago",
        {"carts.fold._purge": _purge_whatever},
        "delete",
        "purged a cart with lines",
        30,
    ),
)
