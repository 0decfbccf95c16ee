"""Re-drives what differs with the guarded writes of the product itself: doing it twice changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from carts.protocol import Deleted
from carts.state import State, Version
from ops.carts_topic import Ledger
from ops.comparison import Difference, Kind
from ops.pieces import pieces
from ops.progress import Advance, Bars
from sinks.postgres.batch import Batch, Deletion, Row, row_of
from sinks.postgres.table import CartsTable
from sinks.redis.copies import copies
from sinks.redis.republish import Republisher, Why
from store.redis import CartStore, Layout, PipelinedClient, PutOutcome, Unfolded
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
"""The kinds that can be re-driven; the others need something else (comparison.MEANING)."""

CAUSE: Final = "verify"
SOURCE: Final = "/cartstream/verify"

LEFT: Final = {
    Why.BACKLOG: "waits for its partition's outbox, which goes first",
    Why.WAITS: "waits in the outbox",
    Why.TOO_OLD: "is too old to be told apart",
    Why.NO_CHANGE: "is the fold's own",
}
"""What became of an operation that was not published again."""


class Repaired(msgspec.Struct, frozen=True):
    """How much was re-driven by kind of difference, and of what had to be left, a sentence each."""

    done: dict[str, int]
    left: list[str]


class Repair:
    """Mends confirmed differences; what it has read of `carts` is the verification's."""

    def __init__(
        self,
        ledgers: dict[int, Ledger],
        store: CartStore,
        client: PipelinedClient,
        layout: Layout,
        table: CartsTable,
        publisher: Publisher,
    ) -> None:
        """All of them connected, and the caller's."""
        self._unfolded = Unfolded(client, layout)
        self._republisher = Republisher(self._unfolded, publisher, layout, cause=CAUSE, source=SOURCE)
        self._ledgers = ledgers
        self._store = store
        self._table = table
        self._done: Counter[str] = Counter()
        self._left: list[str] = []
        self._advance: Advance = lambda _done: None

    async def run(self, differences: Sequence[Difference], bars: Bars) -> Repaired:
        """Raises StoreError, psycopg.Error, KafkaError, TimeoutError; what was mended until then stays so."""
        by_kind: defaultdict[Kind, list[Difference]] = defaultdict(list)
        for difference in differences:
            by_kind[difference.kind].append(difference)
        self._advance = bars("repairing", sum(len(by_kind[kind]) for kind in REPAIRED))
        for difference in by_kind[Kind.REDIS_UNCOVERED]:
            await self._republish(difference)
            self._advance(1)
        # First away, guarded by coverage, then back: a write between the two reads the cart's row.
        await self._put(by_kind[Kind.REDIS_DIFFERS], lambda each: Deleted(self._state(each).version))
        for kind, what in (
            (Kind.REDIS_DIFFERS, self._state),
            (Kind.REDIS_BEHIND, self._state),
            (Kind.REDIS_DELETED, lambda each: Deleted(_version(each))),
        ):
            self._done[kind] += await self._put(by_kind[kind], what)
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

    async def _put(
        self, differences: Sequence[Difference], what: Callable[[Difference], State | Deleted]
    ) -> int:
        """Put something for each; how many Redis took."""
        taken = 0
        by_partition: defaultdict[int, list[Difference]] = defaultdict(list)
        for difference in differences:
            by_partition[difference.partition].append(difference)
        for partition, some in by_partition.items():
            for few in pieces(some, COPIES_AT_ONCE):
                states = copies({difference.cart_id: what(difference) for difference in few})
                for result in await self._store.put(partition, states):
                    if result.outcome is PutOutcome.UNCOVERED:
                        self._left.append(f"{result.cart_id}: Redis has gone on, verify again")
                    else:
                        taken += 1
        return taken

    def _count(self, differences: Sequence[Difference]) -> None:
        for difference in differences:
            self._done[difference.kind] += 1
        self._advance(len(differences))

    def _rows(self, differences: Iterable[Difference]) -> list[Row]:
        found = []
        for difference in sorted(differences, key=lambda each: each.cart_id):
            entry = self._ledgers[difference.partition].entries[difference.cart_id]
            if entry.value is not None:
                found.append(row_of(difference.cart_id, entry.value))
        return found

    def _state(self, difference: Difference) -> State:
        """What `carts` had of the cart when the difference was found."""
        found = self._ledgers[difference.partition].entries[difference.cart_id].found()
        if not isinstance(found, State):
            raise TypeError(f"{difference.kind} is a difference to a state, not to a deletion")
        return found

    async def _republish(self, difference: Difference) -> None:
        """Publish again, as anti-entropy would, operations that no outbox has and that are young enough."""
        cart_id = difference.cart_id
        window = (await self._unfolded.windows([cart_id]))[cart_id]
        found = [entry for entry in window if f"{entry.version}:{entry.op_id}" in difference.evidence]
        republished = await self._republisher.republish(difference.partition, {cart_id: found})
        self._done[difference.kind] += sum(map(len, republished.done.values()))
        self._left += [
            f"{each.cart_id}: operation {each.operation.op_id} at {each.operation.version} {LEFT[each.why]}"
            for each in republished.left
        ]


def _deletions(differences: Iterable[Difference]) -> list[Deletion]:
    """Of just the versions that were found."""
    return [
        Deletion(difference.cart_id, _version(difference).number, _version(difference).operation_count)
        for difference in sorted(differences, key=lambda each: each.cart_id)
    ]


def _version(difference: Difference) -> Version:
    """The version of the copy that a difference is about: its evidence."""
    (tag,) = difference.evidence
    return Version.parse(tag) or Version()
