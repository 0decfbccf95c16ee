"""How Redis, `carts` and Postgres differ about a cart, and whether that is only in flight. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from carts.protocol import Deleted, deletion_clears, rank, row_deleted
from carts.state import State, Version, uncovered
from carts.view import view
from ops.fingerprint import fingerprint, shown

CONFIRMATIONS: Final = 2
"""How often a discrepancy must be found again, unchanged, before it counts."""


class Kind(StrEnum):
    """What is wrong."""

    REDIS_BEHIND = "redis_behind"
    REDIS_UNCOVERED = "redis_uncovered"
    REDIS_DIFFERS = "redis_differs"
    REDIS_DELETED = "redis_deleted"
    ROW_MISSING = "row_missing"
    ROW_BEHIND = "row_behind"
    ROW_DIFFERS = "row_differs"
    ROW_DELETED = "row_deleted"
    ROW_AHEAD = "row_ahead"
    ROW_UNRECORDED = "row_unrecorded"
    UNREADABLE = "unreadable"
    OUTBOX_WAITS = "outbox_waits"


MEANING: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.REDIS_BEHIND: (
        "Redis has an older state than `carts`",
        "--repair puts it; else see that `cartstream sinks redis` runs",
    ),
    Kind.REDIS_UNCOVERED: (
        "Redis has operations that `carts` lacks",
        "--repair publishes those that are young enough, the outbox those that wait in it",
    ),
    Kind.REDIS_DIFFERS: (
        "Redis shows another cart under the version that `carts` has",
        "--repair replaces it; somebody has written into Redis by hand",
    ),
    Kind.REDIS_DELETED: ("Redis has a cart that was deleted", "--repair takes it away"),
    Kind.ROW_MISSING: (
        "Postgres has no row of the cart",
        "--repair writes it; if there are many, `cartstream rebuild`",
    ),
    Kind.ROW_BEHIND: (
        "Postgres has an older state than `carts`",
        "--repair writes it; else see that `cartstream sinks postgres` runs",
    ),
    Kind.ROW_DIFFERS: (
        "Postgres shows another cart under the version that `carts` has",
        "--repair replaces the row; somebody has changed it by hand",
    ),
    Kind.ROW_DELETED: ("Postgres has a cart that was deleted", "--repair deletes the row"),
    Kind.ROW_AHEAD: (
        "Postgres has a newer state than `carts`",
        "`carts` has lost records: `cartstream restore --from postgres`",
    ),
    Kind.ROW_UNRECORDED: (
        "Postgres has a cart that `carts` does not know",
        "`carts` has lost records: `cartstream restore --from postgres`",
    ),
    Kind.UNREADABLE: (
        "`carts` has a record that nobody can read",
        "`cartstream dlq list --topic carts` tells why; the cart's next change repairs it",
    ),
    Kind.OUTBOX_WAITS: (
        "changes wait in the outbox past the publish deadline",
        "see that a gateway and Kafka run: its sweeper publishes them",
    ),
}
"""What each kind means, and what to do about it."""


class RedisCopy(msgspec.Struct, frozen=True):
    """A cart in Redis: version, fingerprint of what it shows, its window's (v, op_id)."""

    version: Version
    fingerprint: bytes
    window: tuple[tuple[int, str], ...]


class RowCopy(msgspec.Struct, frozen=True):
    """A cart's row; the fingerprint is empty where columns and recovery state contradict each other."""

    version: Version
    fingerprint: bytes


class Discrepancy(msgspec.Struct, frozen=True):
    """One difference about one cart. `evidence` changes when the store that is behind makes progress."""

    kind: Kind
    partition: int
    cart_id: str
    evidence: frozenset[str]
    detail: str


class Copies(msgspec.Struct, frozen=True, kw_only=True):
    """What the stores have of a cart; None is nothing. `purge_floor` is that of its partition."""

    partition: int
    cart_id: str
    recorded: State | Deleted | None
    purge_floor: int
    redis: RedisCopy | None
    row: RowCopy | None


def discrepancies(copies: Copies) -> list[Discrepancy]:
    """All discrepancies. A cart that Redis lacks is none: it is taken from its row when asked for."""
    return [*_of_redis(copies), *_of_row(copies)]


def is_in_row_only(copies: Copies) -> bool:
    """Whether a live cart is absent from Redis and in its row."""
    is_alive = isinstance(copies.recorded, State) and not copies.recorded.expired
    return is_alive and copies.redis is None and copies.row is not None


def _of_redis(copies: Copies) -> Iterable[Discrepancy]:
    redis, recorded = copies.redis, copies.recorded
    if redis is None:
        return
    tag = redis.version.tag()
    match recorded:
        case State():
            if missing := uncovered(recorded, redis.window):
                yield _uncovered(copies, missing)
            elif redis.version != recorded.version:
                detail = f"Redis has {tag}, carts {recorded.version.tag()}"
                yield _discrepancy(copies, Kind.REDIS_BEHIND, tag, detail)
            elif redis.fingerprint != fingerprint(shown(view(copies.cart_id, recorded))):
                yield _discrepancy(copies, Kind.REDIS_DIFFERS, tag, f"both have version {tag}")
        case Deleted():
            if deletion_clears(recorded, redis.version, redis.window):
                yield _discrepancy(copies, Kind.REDIS_DELETED, tag, f"{tag} was deleted")
            else:
                newer = [(v, op_id) for v, op_id in redis.window if v > recorded.version.number]
                yield _uncovered(copies, newer or redis.window)
        case None if redis.version.number <= copies.purge_floor:
            yield _discrepancy(copies, Kind.REDIS_DELETED, tag, f"{tag} is not above the purge floor")
        case None:
            yield _uncovered(copies, redis.window)


def _of_row(copies: Copies) -> Iterable[Discrepancy]:
    row, recorded = copies.row, copies.recorded
    if row is None:
        if isinstance(recorded, State):
            detail = f"carts has {recorded.version.tag()}"
            yield _discrepancy(copies, Kind.ROW_MISSING, "absent", detail)
        return
    tag = row.version.tag()
    match recorded:
        case State():
            found = rank(row.version), rank(recorded.version)
            detail = f"Postgres has {tag}, carts {recorded.version.tag()}"
            if found[0] < found[1]:
                yield _discrepancy(copies, Kind.ROW_BEHIND, tag, detail)
            elif found[0] > found[1]:
                yield _discrepancy(copies, Kind.ROW_AHEAD, tag, detail)
            elif row.version != recorded.version or row.fingerprint != fingerprint(
                shown(view(copies.cart_id, recorded))
            ):
                yield _discrepancy(copies, Kind.ROW_DIFFERS, tag, detail)
        case Deleted() if row_deleted(row.version, recorded):
            yield _discrepancy(copies, Kind.ROW_DELETED, tag, f"{recorded.version.tag()} was deleted")
        case None if row.version.number <= copies.purge_floor:
            yield _discrepancy(copies, Kind.ROW_DELETED, tag, f"{tag} is not above the purge floor")
        case _:
            yield _discrepancy(copies, Kind.ROW_UNRECORDED, tag, f"Postgres has {tag}")


def _uncovered(copies: Copies, operations: Sequence[tuple[int, str]]) -> Discrepancy:
    newest_v, newest = max(operations, default=(0, ""))
    return Discrepancy(
        Kind.REDIS_UNCOVERED,
        copies.partition,
        copies.cart_id,
        frozenset(f"{v}:{op_id}" for v, op_id in operations),
        f"{len(operations)} operations, the newest {newest} at {newest_v}",
    )


def _discrepancy(copies: Copies, kind: Kind, evidence: str, detail: str) -> Discrepancy:
    return Discrepancy(kind, copies.partition, copies.cart_id, frozenset({evidence}), detail)


class Suspects:
    """Discrepancies seen so far. One counts when later reads find it unchanged: it is not in flight."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, Kind], tuple[Discrepancy, int]] = {}

    def look(self, found: Iterable[Discrepancy]) -> None:
        """Take in a complete read of the suspected carts: what is not found again has arrived."""
        now: dict[tuple[str, Kind], tuple[Discrepancy, int]] = {}
        for discrepancy in found:
            key = discrepancy.cart_id, discrepancy.kind
            before, times = self._seen.get(key, (None, 0))
            stands = before is not None and bool(before.evidence & discrepancy.evidence)
            now[key] = discrepancy, times + 1 if stands else 0
        self._seen = now

    @property
    def carts(self) -> set[str]:
        """The carts to read again."""
        return {cart_id for cart_id, _ in self._seen}

    @property
    def settled(self) -> bool:
        """Whether another read would tell nothing new."""
        return all(times >= CONFIRMATIONS for _, times in self._seen.values())

    def confirmed(self) -> list[Discrepancy]:
        """The discrepancies that count."""
        return [discrepancy for discrepancy, times in self._seen.values() if times >= CONFIRMATIONS]

    def moving(self) -> int:
        """How many carts differ but make progress from read to read."""
        return len({cart_id for (cart_id, _), (_, times) in self._seen.items() if times < CONFIRMATIONS})
