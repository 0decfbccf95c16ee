"""What the store answers."""

from enum import StrEnum

import msgspec

from carts.protocol import PutOutcome
from carts.state import Version
from store.redis.absence import Missing
from store.redis.stored import StoredCart


class Restoring(msgspec.Struct, frozen=True):
    """The partition's marker is gone: nothing in it is authoritative until it is restored."""


class OutboxEntry(msgspec.Struct, frozen=True):
    """A change in the Redis outbox: it is not yet known to be in Kafka.

    `event` is the `cart-changed` value, `version` the operation's. The id is unique within the partition.
    """

    id: str
    op_id: str
    cart_id: str
    event: bytes
    version: int
    traceparent: str = ""
    """Of the request that made the change; known where the entry was read from the outbox, empty: none."""


class OutboxPage(msgspec.Struct, frozen=True):
    """Entries of an outbox, and when they were read, by Redis's clock, in microseconds."""

    entries: list[OutboxEntry]
    read_us: int


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """The operation was applied now, under `operation_version`.

    `entry` is what stands in the Redis outbox now. `oldest_outbox_us` is the age of the partition's oldest
    entry, exact to a millisecond. `cart` is none for a minimal request.
    """

    partition: int
    operation_version: int
    version: Version
    entry: OutboxEntry
    oldest_outbox_us: int
    cart: StoredCart | None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """The operation had been applied before, under `operation_version`; `version` and `cart` are of now.

    `entry` is what stands in the Redis outbox; none: Kafka has it.
    """

    partition: int
    operation_version: int
    version: Version
    entry: OutboxEntry | None
    oldest_outbox_us: int
    cart: StoredCart | None


class Reason(StrEnum):
    """Why a change was refused."""

    RESTORING = "restoring"
    TOO_OLD = "too_old"
    UNKNOWN_CART = "unknown_cart"
    """Redis lacks the cart, and what was found elsewhere does not count (any more): look into its row."""
    KEY_REUSED = "key_reused"
    NOT_APPLIED = "not_applied"
    """Asked for with `replay_only`: no earlier attempt has applied the operation."""
    PRECONDITION_FAILED = "precondition_failed"
    CLAIMED = "claimed"
    MERGED = "merged"
    LIMIT = "limit"
    LINE_NOT_FOUND = "line_not_found"
    CURRENCY = "currency"
    WINDOW_FULL = "window_full"
    OUTBOX_FULL = "outbox_full"
    STORAGE_FULL = "storage_full"
    NO_RECORD = "no_record"
    """Of a subtraction only: the folded cart is absent, expired, too old or behind. The order waits."""
    ROW_UNKNOWN = "row_unknown"
    """Of a subtraction only: Redis lacks the cart, and its row cannot be read, or is behind."""
    MOVED = "moved"
    """Of a subtraction only: the cart was written to each time between reading and subtracting."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing was changed, and why.

    missing: under what (UNKNOWN_CART). tag: the cart's version tag now (PRECONDITION_FAILED). merge_id,
    into: the merge and its target (CLAIMED; into for MERGED too). limit, step, bound: the name as in
    carts.limits.Limits or `subtotal`, the step's index, the bound (LIMIT); step for LINE_NOT_FOUND and
    CURRENCY too, where `currency` is the cart's. retry_after_us: when there is room again (WINDOW_FULL).
    """

    reason: Reason
    missing: Missing | None = None
    tag: str | None = None
    merge_id: str | None = None
    into: str | None = None
    limit: str | None = None
    step: int | None = None
    bound: int | None = None
    currency: str | None = None
    retry_after_us: int | None = None


ChangeOutcome = Applied | Replayed | Refused
"""What became of a change."""


class CheckoutLock(msgspec.Struct, frozen=True):
    """The lock on a cart's checkout: the token of its holder, and the milliseconds until it expires."""

    token: str
    ttl_ms: int


class WindowEntry(msgspec.Struct, frozen=True):
    """An operation of a copy's window, and where in the outbox this copy has put it (none: not known)."""

    version: int
    op_id: str
    outbox_id: str | None


class OutboxDepth(msgspec.Struct, frozen=True):
    """How much a partition's outbox holds; `oldest_us` is the age of its oldest entry, 0 when empty.

    `now_us` is Redis's time just before.
    """

    partition: int
    entries: int
    bytes: int
    oldest_us: int
    now_us: int


class PutResult(msgspec.Struct, frozen=True):
    """What a put did to one cart, and the (v, op_id) of Redis's copy that the state does not cover."""

    cart_id: str
    outcome: PutOutcome
    uncovered: tuple[tuple[int, str], ...] = ()


class RestoreLost(msgspec.Struct, frozen=True):
    """Another restoration has begun, or Redis was lost or rolled back during this one: begin again."""


class StatesNeeded(msgspec.Struct, frozen=True):
    """The position was not moved: of these carts the version does not tell what Redis's copy lacks."""

    cart_ids: frozenset[str]


class PositionMoved(msgspec.Struct, frozen=True):
    """The follow position in Redis is not the expected one (none: never followed); go on from `position`."""

    position: int | None


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says about itself; readiness is decided from it. `used_memory`: what counts of it.

    A managed server may refuse INFO, or leave something out: None, and 0 for its memory.
    """

    address: str = ""
    version: str
    role: str
    loading: bool
    maxmemory_policy: str | None
    maxmemory: int
    used_memory: int
    aof_enabled: bool | None
    time_us: int
