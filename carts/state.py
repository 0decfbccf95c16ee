"""The state of a cart: a base and its recent operations. Merging two copies of it is a set union.

Entries are ordered by (v, op_id). Per op_id only the highest v counts (a retry on a stale copy may give
attempt to an operation twice). Entries older than W before the newest leave the window into the base; `floor`
is the highest version that can have left.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import chain, starmap
from operator import attrgetter
from typing import Final

import msgspec
from msgspec.structs import replace

from carts.content import EMPTY, Content, apply
from carts.ids import SYSTEM_OP_PREFIX, claim_op_id, transfer_number
from carts.limits import TIMING, Timing
from carts.operations import DUPLICATE, Claim, Delta, Finish, Merged, Operation, Subtract, Withdrawal

EXPIRY_PREFIX: Final = "!x:"
VOID_PREFIX: Final = "!y:"
_DIGEST_MODULUS: Final = 2**48
_POSITION: Final = attrgetter("version", "op_id")
_DELTA: Final = attrgetter("delta")
_WITHDRAWALS: Final = frozenset({Subtract, Finish})
_CLIENT_IDS: Final = chr(ord(SYSTEM_OP_PREFIX) + 1)
"""No id of a client's operation sorts below it, every id that the fold makes does."""


class Status(StrEnum):
    """What a caller may do with the cart."""

    ACTIVE = "active"
    CLAIMED = "claimed"
    MERGED = "merged"
    EXPIRED = "expired"


class Version(msgspec.Struct, frozen=True, order=True, rename={"number": "v", "operation_count": "n"}):
    """The version of a state: a pure function of the set of its operations.

    `number` is the highest version of an operation, `operation_count` the number of operations ever,
    `digest` the sum of `entry_digest` over them, modulo 2^48 (two forks can tie in the other two).
    """

    number: int = 0
    operation_count: int = 0
    digest: int = 0

    def tag(self) -> str:
        """`v-n-digest`, the opaque part of the strong ETag (RFC 9110); digest in 12 hex digits."""
        return f"{self.number}-{self.operation_count}-{self.digest:012x}"

    @staticmethod
    def parse(tag: str) -> "Version | None":
        """The version behind a tag, None if it is none."""
        match = _TAG.fullmatch(tag)
        return Version(int(match[1]), int(match[2]), int(match[3], 16)) if match else None


_TAG: Final = re.compile(r"([0-9]{1,16})-([0-9]{1,16})-([0-9a-f]{12})")


class ClaimState(msgspec.Struct, frozen=True):
    """The merge that holds a guest cart."""

    merge_id: str
    into: str


class State(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Everything that is known of a cart.

    `trimmed` and `trimmed_digest` count the operations that have left into `base`, `start` is the purge
    floor of the partition when the cart was born (0: never deleted), `born` the version of its first
    operation. Outside the window are `ordered_version`, the highest version of a snapshot of an order whose
    subtraction has left it; `transfers`, the number of the newest transfer of a merge that the cart knows, on
    either side; `claim`, the merge that holds a guest cart; `merged_into`, its successor; and `erased`, the
    version up to which what the cart has held is forgotten.
    """

    base: Content = EMPTY
    floor: int = 0
    start: int = 0
    ops: tuple[Operation, ...] = ()
    trimmed: int = 0
    trimmed_digest: int = 0
    born: int = 0
    ordered_version: int = 0
    claim: ClaimState | None = None
    transfers: int = 0
    merged_into: str | None = None
    erased: int = 0

    @property
    def version_number(self) -> int:
        """The highest version of an operation."""
        return self.ops[-1].version if self.ops else self.floor

    @property
    def operation_count(self) -> int:
        """How many operations there ever were."""
        return self.trimmed + len(self.ops)

    @property
    def version(self) -> Version:
        """The version as of the set of operations."""
        return Version(
            self.version_number,
            self.operation_count,
            add_digests(self.trimmed_digest, map(_POSITION, self.ops)),
        )

    @property
    def expired(self) -> bool:
        """Whether the last effective entry is an expiry."""
        if not self.ops or _is_plain(self.ops[-1]):
            return False
        counted = effective(self.ops)
        return bool(counted) and counted[-1].op_id.startswith(EXPIRY_PREFIX)

    @property
    def status(self) -> Status:
        """What a caller may do with the cart."""
        if self.merged_into is not None:
            return Status.MERGED
        if self.expired:
            return Status.EXPIRED
        return Status.CLAIMED if self.claim is not None else Status.ACTIVE

    def remembers(self, op_id: str, delta: Delta = ()) -> bool:
        """Whether this is the operation of an order or a merge, and known although the window may lack it.

        Orders and transfers of a cart come one after the other: who makes one has seen the last in the folded
        cart. So the newest says which are known. Only `delta` names the snapshot of an order.
        """
        for step in delta:
            if isinstance(step, Subtract) and step.snapshot_version <= self.ordered_version:
                return True
        if not op_id.startswith(SYSTEM_OP_PREFIX):
            return False
        if (number := transfer_number(op_id)) is not None:
            return number <= self.transfers
        return self.claim is not None and op_id == claim_op_id(self.claim.merge_id)

    @property
    def newest_order(self) -> int:
        """The version of the snapshot of the newest order that the cart has, 0: none."""
        return max(self.ordered_version, ordered_from(self.ops))

    def content(self) -> Content:
        """Base, then the effective entries in order: removed lines and signed quantities included."""
        return apply(self.base, effective(self.ops), self.start)


@lru_cache(maxsize=65_536)
def entry_digest(version: int, op_id: str) -> int:
    """The first 48 bits of SHA-1 over `<v>:<op_id>`; exact in the doubles of a Redis script."""
    return int.from_bytes(hashlib.sha1(f"{version}:{op_id}".encode(), usedforsecurity=False).digest()[:6])


def add_digests(digest: int, positions: Iterable[tuple[int, str]]) -> int:
    """The digest of a version with the entries at these (v, op_id) in it."""
    return (digest + sum(starmap(entry_digest, positions))) % _DIGEST_MODULUS


def made_by_the_fold(op: Operation) -> bool:
    """Whether an entry came from no change: an expiry, a void, an attempt that does not count."""
    return op.delta == DUPLICATE or op.op_id.startswith((EXPIRY_PREFIX, VOID_PREFIX))


def _is_plain(op: Operation) -> bool:
    return op.op_id >= _CLIENT_IDS and op.delta != DUPLICATE


def ordered(ops: Iterable[Operation]) -> tuple[Operation, ...]:
    """Entries by (v, op_id)."""
    return tuple(sorted(ops, key=_POSITION))


def effective(ops: Sequence[Operation]) -> list[Operation]:
    """Which entries of ordered `ops` count: per op_id the newest attempt; no duplicates or void expiries."""
    newest = {op.op_id: op.version for op in ops if op.delta != DUPLICATE}
    if len(newest) == len(ops) and min(newest, default=_CLIENT_IDS) >= _CLIENT_IDS:
        return list(ops)  # almost always, and several times an event
    return [
        op
        for op in ops
        if newest.get(op.op_id) == op.version
        and op.delta != DUPLICATE
        and not op.op_id.startswith(VOID_PREFIX)
        and not (
            op.op_id.startswith(EXPIRY_PREFIX) and VOID_PREFIX + op.op_id[len(EXPIRY_PREFIX) :] in newest
        )
    ]


def ordered_from(ops: Iterable[Operation]) -> int:
    """The highest version of a snapshot of the orders whose subtractions are among `ops`, 0: none is."""
    return max(
        (step.snapshot_version for op in ops for step in op.delta if isinstance(step, Subtract)), default=0
    )


def newest_write(ops: Sequence[Operation]) -> int:
    """Of ordered `ops` the highest v that is no expiry's or void's (else 0): ages count from it."""
    return next(
        (op.version for op in reversed(ops) if not op.op_id.startswith((EXPIRY_PREFIX, VOID_PREFIX))), 0
    )


def overrule(ops: Sequence[Operation]) -> tuple[Operation, ...]:
    """Turn attempts that a subtraction's snapshot has overruled into duplicates: known, never effective."""
    if _WITHDRAWALS.isdisjoint(map(type, chain.from_iterable(map(_DELTA, ops)))):
        return tuple(ops)  # almost always, and every event
    counted: dict[str, int] = {}
    for op in ops:
        for step in op.delta:
            if isinstance(step, Withdrawal):
                for attempt in step.attempts:
                    counted[attempt.op_id] = min(attempt.version, counted.get(attempt.op_id, attempt.version))
    return tuple(
        replace(op, delta=DUPLICATE) if op.version > counted.get(op.op_id, op.version) else op for op in ops
    )


def trim(state: State, timing: Timing = TIMING) -> State:
    """Move entries older than W before the newest write into the base, and the floor behind them."""
    newest = newest_write(state.ops)
    cut = newest - 2 * timing.window_us
    floor = max(state.floor, cut - 1)
    old = next((position for position, op in enumerate(state.ops) if op.version >= cut), len(state.ops))
    if old:
        return _left(state, old, floor)
    return replace(state, floor=floor) if newest and floor > state.floor else state


def trim_idle(state: State, at_us: int, timing: Timing = TIMING) -> State:
    """Move the whole window into the base if its newest entry is a write, and older than W at `at_us`.

    The floor rises to that entry, so the version stays: the cart is the same to whoever reads it.
    """
    newest = newest_write(state.ops)
    if not newest or newest != state.version_number or newest > 2 * (at_us - timing.window_us):
        return state
    return _left(state, len(state.ops), newest)


def _left(state: State, count: int, floor: int) -> State:
    """`state` after its oldest `count` entries have left the window, with that floor."""
    left = state.ops[:count]
    counted = [op for op in effective(state.ops) if op.version <= floor]
    return replace(
        state,
        base=apply(state.base, counted, state.start) if counted else state.base,
        floor=floor,
        ops=state.ops[count:],
        trimmed=state.trimmed + count,
        trimmed_digest=add_digests(state.trimmed_digest, map(_POSITION, left)),
        ordered_version=max(state.ordered_version, ordered_from(left)),
    )


def noted(state: State, op: Operation) -> State:
    """`state` with what an operation says of the cart for longer than the window has it."""
    known = state
    for step in op.delta:
        match step:
            case Claim():
                known = replace(known, claim=known.claim or ClaimState(step.merge_id, step.into))
            case Merged():
                known = replace(known, merged_into=known.merged_into or step.into)
            case _:
                pass
    number = transfer_number(op.op_id)
    return known if number is None else replace(known, transfers=max(known.transfers, number))


def erase(state: State, operation: Operation) -> State:
    """`state` without anything that the cart has held up to the version of an erasure.

    The floor rises to just below that version at once, so that whatever arrives late is below it. What is
    newer stays. The erasure itself stays in the window: no older state covers it, so none is put over it.
    """
    floor = max(state.floor, operation.version - 1)
    entries = ordered((*state.ops, operation))
    gone = [op for op in entries if op.version <= floor]
    return replace(
        state,
        base=Content(cleared_version=floor),
        floor=floor,
        ops=entries[len(gone) :],
        trimmed=state.trimmed + len(gone),
        trimmed_digest=add_digests(state.trimmed_digest, map(_POSITION, gone)),
        ordered_version=max(state.ordered_version, ordered_from(gone)),
        erased=operation.version,
    )


def union(a: State, b: State) -> State:
    """Unite two copies of a cart: base and floor of the higher floor, all entries above it. Never trims.

    A copy that has been erased wins over one that does not know of it, whatever their floors.
    """
    high, low = (a, b) if _rank_of_base(a) >= _rank_of_base(b) else (b, a)
    entries: dict[tuple[int, str], Operation] = {}
    for op in (*high.ops, *low.ops):
        key = (op.version, op.op_id)
        if op.version > high.floor and (key not in entries or op.delta == DUPLICATE):
            entries[key] = op
    first_versions = [born for born in (a.born, b.born) if born]
    return replace(
        high,
        ops=overrule(ordered(entries.values())),
        born=min(first_versions, default=0),
        ordered_version=max(low.ordered_version, high.ordered_version),
        claim=high.claim or low.claim,
        transfers=max(low.transfers, high.transfers),
        merged_into=high.merged_into or low.merged_into,
    )


def _rank_of_base(state: State) -> tuple[int, int, int, int]:
    return state.erased, state.floor, state.trimmed, state.trimmed_digest


def window_of(state: State) -> list[tuple[int, str]]:
    """The (v, op_id) of a copy's window, for `uncovered`.

    Of a cart that has been trimmed its floor, which only a floor covers: a state of before may lack something
    that has left the window.
    """
    return [(op.version, op.op_id) for op in state.ops] or [(state.floor, "")]


def uncovered(state: State, window: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """The (v, op_id) of another copy's window that `state` does not contain: it may not replace that copy.

    A transfer whose entry has left the window is known by its id; while the entry is there, its version
    counts. Of an order a further attempt gets an entry of its own, when it is folded.
    """
    known: dict[str, int] = {}
    for op in state.ops:
        known[op.op_id] = max(op.version, known.get(op.op_id, 0))
    return [
        (v, op_id)
        for v, op_id in window
        if v > state.floor and known.get(op_id, -1) < v and (op_id in known or not state.remembers(op_id))
    ]
