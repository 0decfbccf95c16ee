"""Repairs discrepancies with the product's own guarded writes: doing it twice changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from carts.protocol import Deleted
from carts.state import State, Version
from ops.carts_index import CartsIndex
from ops.comparison import Discrepancy, Kind
from ops.pieces import pieces
from ops.progress import Advance, Bars
from sinks.postgres.batch import Batch, row_of
from sinks.postgres.table import CartsTable
from sinks.redis.republish import Republisher, Why
from store.postgres.carts import Deletion, Row
from store.redis import CartStore, Layout, PendingCompaction, PipelinedClient, PutOutcome
from topics.publishing import Publisher

COPIES_AT_ONCE: Final = 200
ROWS_AT_ONCE: Final = 2000
REPAIRED: Final = (
    Kind.REDIS_UNCOVERED,
    Kind.REDIS_DIFFERS,
    Kind.REDIS_BEHIND,
    Kind.REDIS_DELETED,
    Kind.ROW_MISSING,
    Kind.ROW_BEHIND,
    Kind.ROW_DELETED,
    Kind.ROW_DIFFERS,
)
"""The kinds that a repair can fix; comparison.MEANING says what the others need."""

CAUSE: Final = "verify"
SOURCE: Final = "/cartstream/verify"

LEFT: Final = {
    Why.BACKLOG: "waits for its partition's outbox, which goes first",
    Why.WAITS: "waits in the outbox",
    Why.TOO_OLD: "is too old to be told apart",
    Why.NO_CHANGE: "is the fold's own",
}
"""Why an operation was not published again."""


class Repaired(msgspec.Struct, frozen=True):
    """How much was repaired, by kind of discrepancy, and a sentence on each thing that was not."""

    done: dict[str, int]
    left: list[str]


class Repair:
    """Repairs confirmed discrepancies; it uses the index that the verification has read."""

    def __init__(
        self,
        indexes: dict[int, CartsIndex],
        store: CartStore,
        client: PipelinedClient,
        layout: Layout,
        table: CartsTable,
        publisher: Publisher,
    ) -> None:
        """All arguments are connected and belong to the caller."""
        self._pending = PendingCompaction(client, layout)
        self._republisher = Republisher(self._pending, publisher, layout, cause=CAUSE, source=SOURCE)
        self._indexes = indexes
        self._store = store
        self._table = table
        self._done: Counter[str] = Counter()
        self._left: list[str] = []
        self._advance: Advance = lambda _done: None

    async def run(self, discrepancies: Sequence[Discrepancy], bars: Bars) -> Repaired:
        """Raises StoreError, psycopg.Error, KafkaError, TimeoutError; what was repaired stays so."""
        by_kind: defaultdict[Kind, list[Discrepancy]] = defaultdict(list)
        for discrepancy in discrepancies:
            by_kind[discrepancy.kind].append(discrepancy)
        self._advance = bars("repairing", sum(len(by_kind[kind]) for kind in REPAIRED))
        for discrepancy in by_kind[Kind.REDIS_UNCOVERED]:
            await self._republish(discrepancy)
            self._advance(1)
        for kind, what in (
            (Kind.REDIS_DIFFERS, self._state),
            (Kind.REDIS_BEHIND, self._state),
            (Kind.REDIS_DELETED, lambda each: Deleted(_version(each))),
        ):
            self._done[kind] += await self._replace(by_kind[kind], what)
            self._advance(len(by_kind[kind]))
        for rows in pieces([*by_kind[Kind.ROW_MISSING], *by_kind[Kind.ROW_BEHIND]], ROWS_AT_ONCE):
            await self._table.write(Batch(self._rows(rows), []))
            self._count(rows)
        for rows in pieces(by_kind[Kind.ROW_DELETED], ROWS_AT_ONCE):
            await self._table.write(Batch([], _deletions(rows)))
            self._count(rows)
        for rows in pieces(by_kind[Kind.ROW_DIFFERS], ROWS_AT_ONCE):
            await self._table.replace(self._rows(rows))
            self._count(rows)
        return Repaired({kind: count for kind, count in self._done.items() if count}, self._left)

    async def _replace(
        self, discrepancies: Sequence[Discrepancy], what: Callable[[Discrepancy], State | Deleted]
    ) -> int:
        """Replace the copy of each by a state or deletion; how many Redis accepted."""
        taken = 0
        by_partition: defaultdict[int, list[Discrepancy]] = defaultdict(list)
        for discrepancy in discrepancies:
            by_partition[discrepancy.partition].append(discrepancy)
        for partition, some in by_partition.items():
            for few in pieces(some, COPIES_AT_ONCE):
                states = [(discrepancy.cart_id, what(discrepancy)) for discrepancy in few]
                for result in await self._store.replace(partition, states):
                    match result.outcome:
                        case PutOutcome.UNCOVERED:
                            self._left.append(f"{result.cart_id}: Redis has gone on, verify again")
                        case PutOutcome.ABSENT:
                            self._left.append(f"{result.cart_id}: Redis has lost it since, verify again")
                        case _:
                            taken += 1
        return taken

    def _count(self, discrepancies: Sequence[Discrepancy]) -> None:
        for discrepancy in discrepancies:
            self._done[discrepancy.kind] += 1
        self._advance(len(discrepancies))

    def _rows(self, discrepancies: Iterable[Discrepancy]) -> list[Row]:
        found = []
        for discrepancy in sorted(discrepancies, key=lambda each: each.cart_id):
            entry = self._indexes[discrepancy.partition].entries[discrepancy.cart_id]
            if entry.value is not None:
                found.append(row_of(discrepancy.cart_id, entry.value))
        return found

    def _state(self, discrepancy: Discrepancy) -> State:
        """What `carts` had of the cart when the discrepancy was found."""
        found = self._indexes[discrepancy.partition].entries[discrepancy.cart_id].found()
        if not isinstance(found, State):
            raise TypeError(f"{discrepancy.kind} is a discrepancy to a state, not to a deletion")
        return found

    async def _republish(self, discrepancy: Discrepancy) -> None:
        """Publish again, as anti-entropy would, operations that no outbox has and that are young enough."""
        cart_id = discrepancy.cart_id
        window = (await self._pending.windows([cart_id]))[cart_id]
        found = [entry for entry in window if f"{entry.version}:{entry.op_id}" in discrepancy.evidence]
        republished = await self._republisher.republish(discrepancy.partition, {cart_id: found})
        self._done[discrepancy.kind] += sum(map(len, republished.done.values()))
        self._left += [
            f"{each.cart_id}: operation {each.operation.op_id} at {each.operation.version} {LEFT[each.why]}"
            for each in republished.left
        ]


def _deletions(discrepancies: Iterable[Discrepancy]) -> list[Deletion]:
    """Deletions of exactly the versions that were found."""
    return [
        Deletion(discrepancy.cart_id, _version(discrepancy).number, _version(discrepancy).operation_count)
        for discrepancy in sorted(discrepancies, key=lambda each: each.cart_id)
    ]


def _version(discrepancy: Discrepancy) -> Version:
    """The version of the copy that a discrepancy is about: its evidence."""
    (tag,) = discrepancy.evidence
    return Version.parse(tag) or Version()
