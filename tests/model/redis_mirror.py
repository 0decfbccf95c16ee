"""The partition's keys in Redis and its scripts, as pure functions: the Python mirror of the Lua scripts.

Each script takes the keys before and returns the keys after and its reply. Redis keeps no base: the lines are
materialised beside the window, so a copy is `content` and everything of the state but its base.

A script's decisions are functions of `carts`, called here and mirrored in Lua; what holds the two together:
`change` by tests/store/redis/test_change_equals_fold.py, `subtract` by test_subtraction.py, `put` by
test_put_equals_protocol.py, the others by test_scripts_equal_protocol.py in the same folder.
"""

import msgspec

from carts import content as contents
from carts import ordering, protocol
from carts import state as states
from carts.content import EMPTY, Content
from carts.limits import Timing
from carts.operations import Change, Delta, Operation
from carts.protocol import Deleted, PutOutcome
from carts.state import State, Version, window_of
from tests.model import tail
from tests.model.tail import Marker, Miss


class StoredCart(msgspec.Struct, frozen=True):
    """Redis's copy of a cart; `known` is its state without the base, which `content` has taken up."""

    content: Content = EMPTY
    known: State = State()
    put_at: int = 0
    """When it was put: an expired copy stays for a while."""
    row_from: int | None = None
    """Rows that have all of `carts` before this offset have what was put; None: that is not known."""

    @property
    def version(self) -> Version:
        """The version of the copy."""
        return self.known.version

    @property
    def window(self) -> list[tuple[int, str]]:
        """The (v, op_id) of its operations, or its floor."""
        return window_of(self.known)


class OutboxEntry(msgspec.Struct, frozen=True):
    """A change that no broker has acknowledged yet."""

    entry_id: int
    change: Change


class Redis(msgspec.Struct, frozen=True):
    """All keys of the partition."""

    cart: StoredCart | None = None
    outbox: tuple[OutboxEntry, ...] = ()
    last_entry_id: int = 0
    marker: Marker | None = None
    restore_token: str | None = None
    restore_sequence: int = 0
    since: int | None = None
    """Where the restorations began in `carts` that have put copies here, while there is no marker."""
    followed: int = 0

    @property
    def ready(self) -> bool:
        """Whether the partition is authoritative."""
        return self.marker is not None


class Found(msgspec.Struct, frozen=True):
    """What Postgres had of a cart after a miss, and the position of the rows that stood beside it.

    `forgotten_version` is the v of a row that was too old to count.
    """

    miss: Miss
    row: State | None
    rows_position: int
    forgotten_version: int = 0


class Request(msgspec.Struct, frozen=True):
    """A change as it is handed to the script; `found` says that the cart has no row, once that is known."""

    op_id: str
    delta: Delta
    first_seen_us: int
    found: Found | None = None


class Applied(msgspec.Struct, frozen=True):
    """The change stands in the outbox with its version; `backlog_us` is the age of the oldest entry."""

    entry: OutboxEntry
    backlog_us: int


class Replayed(msgspec.Struct, frozen=True):
    """The operation is known; `entry` is what still waits in the outbox for it."""

    entry: OutboxEntry | None
    backlog_us: int


class Refused(msgspec.Struct, frozen=True):
    """Nothing was written: `restoring`, `too_old`, `unknown_cart` (look in Postgres), `no_record`."""

    reason: str


Reply = Applied | Replayed | Refused


def stored(state: State, now_us: int = 0, row_from: int | None = None) -> StoredCart:
    """The copy that Redis keeps of `state`."""
    known = msgspec.structs.replace(state, base=EMPTY, ordered_version=state.newest_order)
    return StoredCart(state.content(), known, now_us, row_from)


def change(
    redis: Redis, request: Request, cart_id: str, now_us: int, timing: Timing, horizon_us: int
) -> tuple[Redis, Reply]:
    """The write script; `horizon_us` is how long a copy may lie untouched before it counts as absent."""
    if not redis.ready:
        return redis, Refused("restoring")
    if not protocol.request_in_time(now_us, request.first_seen_us, timing):
        return redis, Refused("too_old")
    copy = present(redis, now_us, horizon_us)
    if copy is None:
        if not is_absent(redis, request.found, now_us):
            return redis, Refused("unknown_cart")
        copy = StoredCart()
    known_of = copy.version.number or forgotten_version(redis, request.found)
    if knows(copy, request.op_id):
        return redis, replayed(redis, request.op_id, now_us)
    if copy.known.merged_into is not None or copy.known.claim is not None:
        return redis, Refused("merged")
    return append(redis, copy, request, cart_id, known_of, now_us, timing)


def is_absent(redis: Redis, found: Found | None, now_us: int) -> bool:
    """Whether a cart that Redis lacks is known to have no row either."""
    return found is not None and found.row is None and counts(redis, found, now_us)


def counts(redis: Redis, found: Found, now_us: int) -> bool:
    """Whether what was found after a miss may stand for the cart."""
    return redis.marker is not None and tail.row_counts(
        found.miss, found.rows_position, redis.marker, now_us, tail.HYDRATION
    )


def forgotten_version(redis: Redis, found: Found | None) -> int:
    """The v of a copy or row that is too old to count."""
    if redis.cart is not None:
        return redis.cart.version.number
    return found.forgotten_version if found is not None else 0


def hydrate(redis: Redis, found: Found, now_us: int, horizon_us: int) -> Redis:
    """The hydration script: bring in a row if the cart is absent and the miss still stands."""
    if found.row is None or present(redis, now_us, horizon_us) is not None:
        return redis
    if not counts(redis, found, now_us):
        return redis
    return msgspec.structs.replace(redis, cart=stored(found.row, now_us))


def present(redis: Redis, now_us: int, horizon_us: int) -> StoredCart | None:
    """Redis's copy, unless it is so old that its cart may have been deleted elsewhere."""
    copy = redis.cart
    if copy is not None and protocol.too_stale(copy.version.number, now_us, horizon_us):
        return None
    return copy


def knows(copy: StoredCart, op_id: str) -> bool:
    """Whether the operation is in the copy's window or remembered without it: a replay."""
    return copy.known.remembers(op_id) or any(op.op_id == op_id for op in copy.known.ops)


def replayed(redis: Redis, op_id: str, now_us: int) -> Replayed:
    """The reply to a known operation."""
    entry = next((entry for entry in redis.outbox if entry.change.op_id == op_id), None)
    return Replayed(entry, backlog_us(redis, now_us))


def backlog_us(redis: Redis, now_us: int) -> int:
    """The age of the oldest outbox entry."""
    return now_us - redis.outbox[0].change.version // 2 if redis.outbox else 0


def append(
    redis: Redis, copy: StoredCart, request: Request, cart_id: str, known_of: int, now_us: int, timing: Timing
) -> tuple[Redis, Applied]:
    """Apply a new operation to the copy, trim its window, put the change into the outbox.

    `known_of` is the v of the copy that the writer knew of, which may have been too old to count.
    """
    op_id, delta = request.op_id, request.delta
    operation = Operation(protocol.next_version(copy.version.number, now_us), op_id, "", delta)
    known = msgspec.structs.replace(
        states.noted(copy.known, operation),
        ops=(*copy.known.ops, operation),
        born=copy.known.born or operation.version,
    )
    known = msgspec.structs.replace(states.trim(known, timing), base=EMPTY)
    written = Change(
        cart_id=cart_id,
        version=operation.version,
        op_id=op_id,
        delta=delta,
        previous_version=known_of,
        born=known.born,
    )
    after = StoredCart(contents.apply(copy.content, [operation], known.start), known)
    return appended(redis, after, written, now_us)


def appended(redis: Redis, copy: StoredCart, written: Change, now_us: int) -> tuple[Redis, Applied]:
    """Store the copy and put the change that made it into the outbox."""
    entry = OutboxEntry(max(redis.last_entry_id + 1, now_us), written)
    after = msgspec.structs.replace(
        redis,
        cart=copy,
        outbox=(*redis.outbox, entry),
        last_entry_id=entry.entry_id,
    )
    return after, Applied(entry, backlog_us(after, max(now_us, written.version // 2)))


def subtract(
    redis: Redis,
    folded: State | None,
    request: Request,
    cart_id: str,
    now_us: int,
    timing: Timing,
    horizon_us: int,
) -> tuple[Redis, Reply]:
    """What an order or a merge does to a cart, on the union of the last folded record and Redis's copy.

    A cart that Redis lacks is brought in before; only one that has no row either is found to be absent.
    """
    if not redis.ready:
        return redis, Refused("restoring")
    known = folded.version_number if folded is not None else 0
    is_forgotten = known > 0 and protocol.too_stale(known, now_us, horizon_us)
    if is_forgotten or not ordering.may_subtract(folded, request.delta):
        return redis, Refused("no_record")
    copy = present(redis, now_us, horizon_us)
    if copy is None and not is_absent(redis, request.found, now_us):
        return redis, Refused("unknown_cart")
    known_copy = copy.known if copy is not None else None
    if not ordering.may_unite(folded or State(), known_copy):
        return redis, Refused("no_record")
    base = ordering.subtraction_base(folded or State(), known_copy)
    if ordering.is_applied(base, request.op_id, request.delta):
        return redis, replayed(redis, request.op_id, now_us)
    v = protocol.next_version(base.version_number, now_us)
    delta = ordering.renewed(request.delta, base, v, ordering.leaving(base, v, timing))
    state = ordering.subtracted(base, Operation(v, request.op_id, "", delta), timing)
    written = Change(
        cart_id=cart_id,
        version=v,
        op_id=request.op_id,
        delta=delta,
        previous_version=base.version_number,
        born=state.born,
    )
    return appended(redis, stored(state), written, now_us)


def put(
    redis: Redis, recorded: State | Deleted, now_us: int, row_from: int | None
) -> tuple[Redis, PutOutcome]:
    """Put a state or a deletion read from `carts` (or folded by the restore) into Redis."""
    copy = redis.cart
    if isinstance(recorded, Deleted):
        if copy is not None and protocol.deletion_clears(recorded, copy.version, copy.window):
            return msgspec.structs.replace(redis, cart=None), PutOutcome.REMOVED
        return redis, PutOutcome.UNCHANGED
    outcome = tail.put_outcome(recorded, copy.version if copy else None, copy.window if copy else [])
    match outcome:
        case PutOutcome.STORED | PutOutcome.REPLACED:
            return msgspec.structs.replace(redis, cart=stored(recorded, now_us, row_from)), outcome
        case PutOutcome.REMOVED:
            return msgspec.structs.replace(redis, cart=None), outcome
        case PutOutcome.UNCHANGED if copy is not None:
            return msgspec.structs.replace(
                redis, cart=msgspec.structs.replace(copy, row_from=row_from)
            ), outcome
        case _:
            return redis, outcome


def outbox_remove(redis: Redis, entry_id: int, op_id: str) -> Redis:
    """Remove an acknowledged entry, compared by id and operation."""
    outbox = tuple(
        entry
        for entry in redis.outbox
        if entry.entry_id != entry_id or not protocol.removes(op_id, entry.change.op_id)
    )
    return msgspec.structs.replace(redis, outbox=outbox)


def restore_begin(redis: Redis, token: str) -> Redis:
    """Mark the partition as being filled by the restore with this token."""
    return msgspec.structs.replace(redis, restore_token=token, restore_sequence=0)


def restore_since(redis: Redis, start: int) -> Redis:
    """Note where in `carts` a restoration begins, before it puts anything; the earliest stays."""
    return msgspec.structs.replace(redis, since=start if redis.since is None else min(start, redis.since))


def restore_step(redis: Redis, token: str, sequence: int) -> Redis | None:
    """The check every step of a restore begins with; none: Redis is not the one that was filled so far."""
    if not protocol.restore_continues(token, sequence, redis.restore_token, redis.restore_sequence):
        return None
    return msgspec.structs.replace(redis, restore_sequence=redis.restore_sequence + 1)


def restore_finish(redis: Redis, followed: int, marker: Marker) -> Redis:
    """Set the marker: the partition is authoritative from now on, and followed from this position."""
    return msgspec.structs.replace(redis, marker=marker, since=None, followed=followed)


def follow_put(
    redis: Redis, expected: int, recorded: State | Deleted | None, now_us: int
) -> tuple[Redis, PutOutcome | None]:
    """Put the record at position `expected` of `carts`, move on; none: Redis has another position."""
    if not protocol.follow_continues(expected, redis.followed):
        return redis, None
    after, outcome = (
        put(redis, recorded, now_us, expected + 1) if recorded is not None else (redis, PutOutcome.UNCHANGED)
    )
    return msgspec.structs.replace(after, followed=expected + 1), outcome
