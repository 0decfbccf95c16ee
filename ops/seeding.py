"""Restores carts from Postgres into Kafka when its topics are lost: each row's whole state as a seed.

The fold unites a seed with what is there, so seeding twice, or while shoppers go on, changes nothing that is
known already. Seeds may overtake a backlog in the outboxes, and should: a row's floor was made by a fold that
obeyed the backlog, and what waits there is newer.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from carts.operations import Change, Seed
from carts.protocol import Deleted, rank
from carts.state import State, trim, union
from ops.carts_index import CartsIndex
from ops.copies import Rows, rows
from ops.pieces import pieces
from ops.progress import Advance, Bars
from ops.settings import OpsSettings
from runtime.kafka.ranges import RangeReader
from topics.codec import encode_change
from topics.errors import RecordError
from topics.headers import change_headers
from topics.partitioner import partition_of
from topics.publishing import Publisher
from topics.registry import CART_CHANGED

BATCH: Final = 200
CAUSE: Final = "restore"
SOURCE: Final = "/cartstream/restore"
OP_PREFIX: Final = "!seed:"
MAX_BYTES: Final = CART_CHANGED.max_message_bytes - 4096
"""Limit of a value: key and headers need room too."""

_STATE: Final = msgspec.json.Decoder(State)
_TREE: Final = msgspec.json.Decoder(dict[str, Any])


class Plan(StrEnum):
    """What becomes of a row."""

    SEED = "seed"
    THERE = "there"
    """`carts` has all of it."""
    DELETED = "deleted"
    """Its cart was deleted since."""
    CONFLICT = "conflict"
    """`carts` has started the cart again: united, the history that only the row has would be lost."""
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"


REFUSED: Final = frozenset({Plan.CONFLICT, Plan.TOO_LARGE, Plan.UNREADABLE})


def plan(row: State, recorded: State | Deleted | None, purge_floor: int) -> Plan:
    """What to do with a row, given what `carts` says of its cart and the partition's purge floor."""
    if isinstance(recorded, State):
        united = trim(union(recorded, row))
        if united == recorded:
            return Plan.THERE
        return Plan.SEED if unite_harmlessly(recorded, row) else Plan.CONFLICT
    if row.version_number <= purge_floor:
        return Plan.DELETED
    if recorded is not None and rank(row.version) <= rank(recorded.version):
        return Plan.DELETED
    return Plan.SEED


def unite_harmlessly(a: State, b: State) -> bool:
    """Whether the union's base, which is one side's, has as many operations as the other side loses to it.

    A cart that went on in empty topics has a high floor and next to nothing in its base: it would win over
    the base that its whole history is in.
    """
    key_a, key_b = ((state.floor, state.trimmed, state.trimmed_digest) for state in (a, b))
    high, low = (a, b) if key_a >= key_b else (b, a)
    return low.trimmed + sum(op.version <= high.floor for op in low.ops) <= high.trimmed


def seed(cart_id: str, row: State, tree: dict[str, Any]) -> Change:
    """The change that carries a row's state (`tree`: as JSON has it); the same row gives the same change."""
    return Change(
        cart_id=cart_id,
        version=row.version_number,
        op_id=OP_PREFIX + row.version.tag(),
        delta=(Seed(tree),),
        born=row.born,
        cause=CAUSE,
    )


class Seeded(msgspec.Struct):
    """How many rows by what became of them, and the carts that were refused."""

    counts: dict[Plan, int] = msgspec.field(default_factory=lambda: dict.fromkeys(Plan, 0))
    refused: list[tuple[Plan, str]] = msgspec.field(default_factory=list)


async def restore_from_postgres(
    settings: OpsSettings, partitions: Sequence[int], bars: Bars, *, dry_run: bool
) -> Seeded:
    """Seed every row of these partitions that `carts` does not have. After an interruption, run it again.

    Raises psycopg.Error, KafkaError, ReadStalled, TimeoutError.
    """
    seeded = Seeded()
    async with (
        RangeReader(settings) as reader,
        rows(settings.postgres_url.get_secret_value()) as table,
        Publisher(settings) as publisher,
    ):
        ids = await _ids(table, settings.partitions, bars("looking for rows", await table.count()))
        for partition in partitions:
            if not (carts := ids.get(partition)):
                continue
            seeding = _Seeding(CartsIndex(partition, settings.partitions), table, publisher, seeded)
            await seeding.run(reader, carts, bars, dry_run=dry_run)
    return seeded


class _Seeding:
    """The seeding of one partition."""

    def __init__(self, index: CartsIndex, table: Rows, publisher: Publisher, seeded: Seeded) -> None:
        self._index = index
        self._table = table
        self._publisher = publisher
        self._seeded = seeded

    async def run(self, reader: RangeReader, carts: list[str], bars: Bars, *, dry_run: bool) -> None:
        partition = self._index.partition
        left = await self._index.left(reader)
        await self._index.read(reader, bars(f"reading carts/{partition}", left), only=set(carts))
        advance = bars(f"seeding partition {partition}", len(carts))
        for some in pieces(carts, BATCH):
            states = await self._table.states(some)
            changes = [change for cart_id, text in states if (change := self._change(cart_id, text))]
            if not dry_run:
                await self._publish(changes)
            advance(len(some))

    def _change(self, cart_id: str, text: str) -> tuple[Change, bytes] | None:
        """The change for a row and its encoding; none if nothing is to be published."""
        try:
            row = _STATE.decode(text)
            entry = self._index.entries.get(cart_id)
            found = None if entry is None else entry.found()
        except (msgspec.MsgspecError, RecordError) as error:
            self._note(Plan.UNREADABLE, f"{cart_id}: {error}")
            return None
        decided = plan(row, found, self._index.purge_floor) if row.version_number else Plan.THERE
        if decided is not Plan.SEED:
            self._note(decided, cart_id)
            return None
        change = seed(cart_id, row, _TREE.decode(text))
        value = encode_change(change)
        if len(value) > MAX_BYTES:
            self._note(Plan.TOO_LARGE, f"{cart_id}: {len(value)} bytes")
            return None
        self._seeded.counts[Plan.SEED] += 1
        return change, value

    def _note(self, decided: Plan, what: str) -> None:
        self._seeded.counts[decided] += 1
        if decided in REFUSED:
            self._seeded.refused.append((decided, what))

    async def _publish(self, changes: Iterable[tuple[Change, bytes]]) -> None:
        await self._publisher.publish_all(
            CART_CHANGED.name,
            self._index.partition,
            [
                (
                    change.cart_id.encode(),
                    value,
                    change_headers(change.cart_id, change.version, change.op_id, source=SOURCE),
                )
                for change, value in changes
            ],
        )


async def _ids(table: Rows, partitions: int, advance: Advance) -> dict[int, list[str]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    async for some in table.ids():
        for cart_id in some:
            found[partition_of(cart_id.encode(), partitions)].append(cart_id)
        advance(len(some))
    return found
