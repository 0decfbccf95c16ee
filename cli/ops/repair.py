"""Re-drives what differs with the guarded writes of the product itself: doing it twice changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from carts.operations import Change, Operation
from carts.protocol import Deleted, may_republish, publish_allowed
from carts.state import State, Version
from cli.ops.comparison import Difference, Kind
from cli.ops.ledger import Ledger
from cli.ops.publishing import Publisher
from sinks.postgres.batch import Batch, Deletion, Row, interpret
from sinks.postgres.table import CartsTable
from sinks.redis.copies import copies
from store import CartStore, Layout, PipelinedClient, PutOutcome
from topics.codec import encode_change
from topics.headers import change_headers
from topics.partitioner import partition_of
from topics.registry import CART_CHANGED

CAUSE: Final = "verify"
SOURCE: Final = "/cartstream/verify"

_OPERATION: Final = msgspec.json.Decoder(Operation)


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
        self._ledgers = ledgers
        self._store = store
        self._client = client
        self._layout = layout
        self._table = table
        self._publisher = publisher
        self._done: Counter[str] = Counter()
        self._left: list[str] = []

    async def run(self, differences: Sequence[Difference]) -> Repaired:
        """Raises StoreError, psycopg.Error, KafkaError, TimeoutError; what was mended until then stays so."""
        by_kind: defaultdict[Kind, list[Difference]] = defaultdict(list)
        for difference in differences:
            by_kind[difference.kind].append(difference)
        now_us = (await self._store.facts()).time_us
        for difference in by_kind[Kind.REDIS_UNCOVERED]:
            await self._republish(difference, now_us)
        for difference in by_kind[Kind.REDIS_DIFFERS]:
            # First away, guarded by coverage, then back: a write between them reads the cart's row.
            state = self._state(difference.cart_id, difference.partition)
            await self._put(difference, Deleted(state.version))
            await self._put(difference, state)
        for difference in by_kind[Kind.REDIS_BEHIND]:
            await self._put(difference, self._state(difference.cart_id, difference.partition))
        for difference in by_kind[Kind.REDIS_DELETED]:
            await self._put(difference, Deleted(_version(difference)))
        await self._write(by_kind)
        return Repaired(dict(self._done), self._left)

    async def _put(self, difference: Difference, what: State | Deleted) -> None:
        (result,) = await self._store.put(difference.partition, copies({difference.cart_id: what}))
        if result.outcome is PutOutcome.UNCOVERED:
            self._left.append(f"{difference.cart_id}: Redis has operations again that `carts` lacks")
        elif isinstance(what, State) or difference.kind is Kind.REDIS_DELETED:
            self._done[difference.kind] += 1

    async def _write(self, by_kind: dict[Kind, list[Difference]]) -> None:
        behind = [*by_kind[Kind.ROW_MISSING], *by_kind[Kind.ROW_BEHIND]]
        deleted = [
            Deletion(difference.cart_id, (version := _version(difference)).v, version.n)
            for difference in sorted(by_kind[Kind.ROW_DELETED], key=lambda each: each.cart_id)
        ]
        await self._table.write(Batch(self._rows(behind), deleted))
        await self._table.replace(self._rows(by_kind[Kind.ROW_DIFFERS]))
        for difference in (*behind, *by_kind[Kind.ROW_DELETED], *by_kind[Kind.ROW_DIFFERS]):
            self._done[difference.kind] += 1

    def _rows(self, differences: Iterable[Difference]) -> list[Row]:
        found = []
        for difference in sorted(differences, key=lambda each: each.cart_id):
            entry = self._ledgers[difference.partition].entries[difference.cart_id]
            row = interpret(difference.cart_id.encode(), entry.value, ())
            if isinstance(row, Row):
                found.append(row)
        return found

    def _state(self, cart_id: str, partition: int) -> State:
        found = self._ledgers[partition].entries[cart_id].found()
        if not isinstance(found, State):
            raise TypeError(f"{cart_id} was deleted meanwhile")
        return found

    async def _republish(self, difference: Difference, now_us: int) -> None:
        """Publish again, as anti-entropy would, operations that no outbox has and that are young enough."""
        cart_id, partition = difference.cart_id, difference.partition
        depths = [each for each in await self._store.outbox_depths() if each.partition == partition]
        if not publish_allowed(0, max((depth.oldest_us for depth in depths), default=0)):
            self._left.append(f"{cart_id}: its partition's outbox goes first")
            return
        waiting = await self._in_outbox(partition)
        for entry in await self._window(cart_id):
            if f"{entry.v}:{entry.op_id}" not in difference.evidence:
                continue
            if not may_republish(entry.v, now_us, in_outbox=(entry.v, entry.op_id) in waiting):
                why = (
                    "waits in the outbox"
                    if (entry.v, entry.op_id) in waiting
                    else "is too old to be told apart"
                )
                self._left.append(f"{cart_id}: operation {entry.op_id} at {entry.v} {why}")
                continue
            change = Change(
                cart_id=cart_id,
                v=entry.v,
                op_id=entry.op_id,
                fingerprint=entry.fingerprint,
                delta=entry.delta,
                cause=CAUSE,
            )
            headers = change_headers(cart_id, entry.v, entry.op_id, source=SOURCE)
            key = cart_id.encode()
            right = partition_of(key, self._layout.partitions)
            await self._publisher.publish(CART_CHANGED.name, right, key, encode_change(change), headers)
            self._done[difference.kind] += 1

    async def _window(self, cart_id: str) -> list[Operation]:
        """The entries of the cart's window in order, as Redis has them (behind each its outbox id)."""
        fields = await self._client.execute("HGETALL", self._layout.of_cart(cart_id).ops)
        entries = [_OPERATION.decode(entry.partition(b"\n")[0]) for entry in fields[1::2]]
        return sorted(entries, key=lambda entry: (entry.v, entry.op_id))

    async def _in_outbox(self, partition: int) -> set[tuple[int, str]]:
        waiting: set[tuple[int, str]] = set()
        after = "0-0"
        while entries := await self._store.outbox_read(partition, after):
            waiting |= {(entry.v, entry.op_id) for entry in entries}
            after = entries[-1].id
        return waiting


def _version(difference: Difference) -> Version:
    """The version of the copy that a difference is about: its evidence."""
    (tag,) = difference.evidence
    return Version.parse(tag) or Version()
