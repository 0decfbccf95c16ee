"""Restores carts from Postgres into Kafka when its topics are lost: each row's whole state as a seed.

The fold unites a seed with what is there, so seeding twice, or while shoppers go on, changes nothing that is
known already. Seeds may overtake a backlog in the outboxes, and should: a row's floor was made by a fold that
obeyed the backlog, and what waits there is newer.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition

from carts.operations import Change, Seed
from carts.protocol import Deleted, rank, row_replaced
from carts.state import State, trim, union
from ops.carts_index import CartsIndex
from ops.copies import Rows, rows
from ops.pieces import pieces
from ops.progress import Advance, Bars, silent
from ops.settings import OpsSettings
from runtime.kafka.ranges import RangeReader
from topics.codec import encode_change
from topics.errors import RecordError
from topics.groups import COMPACTION
from topics.headers import change_headers
from topics.partitioner import partition_of
from topics.publishing import Publisher
from topics.registry import CART_CHANGED

BATCH: Final = 200
POLL_S: Final = 0.25
PATIENCE_S: Final = 30.0
"""A compaction that has committed nothing for so long stands."""
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
    DIFFERS = "differs"
    """`carts` has another cart under the same version: no sink would replace the row."""
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    NOT_FOLDED = "not_folded"
    """The seed is published, and `carts` still lacks it."""


REFUSED: Final = frozenset({Plan.CONFLICT, Plan.DIFFERS, Plan.TOO_LARGE, Plan.UNREADABLE, Plan.NOT_FOLDED})
"""After these the row and `carts` do not agree: the cart is named."""


def plan(row: State, recorded: State | Deleted | None, purge_floor: int) -> Plan:
    """What to do with a row, given what `carts` says of its cart and the partition's purge floor."""
    if isinstance(recorded, State):
        if not unite_harmlessly(recorded, row):
            return Plan.CONFLICT
        if trim(union(recorded, row)) != recorded:
            return Plan.SEED
        follows = recorded.version == row.version or row_replaced(row.version, recorded.version)
        return Plan.THERE if follows else Plan.DIFFERS
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
    """How many rows by what became of them, and the carts of which `carts` has not all."""

    counts: dict[Plan, int] = msgspec.field(default_factory=lambda: dict.fromkeys(Plan, 0))
    refused: list[tuple[Plan, str]] = msgspec.field(default_factory=list)

    def note(self, decided: Plan, what: str) -> None:
        """Count a row; name it if `carts` does not agree with it."""
        self.counts[decided] += 1
        if decided in REFUSED:
            self.refused.append((decided, what))


async def restore_from_postgres(
    settings: OpsSettings, partitions: Sequence[int], bars: Bars, *, dry_run: bool
) -> Seeded:
    """Seed every row of these partitions that `carts` does not have, and wait until it has them.

    Compaction must run. After an interruption, run it again.

    Raises psycopg.Error, KafkaError, ReadStalled, TimeoutError.
    """
    seeded = Seeded()
    async with (
        RangeReader(settings, group=COMPACTION) as reader,
        rows(settings.postgres_address) as table,
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
        """Seed those of the carts that `carts` lacks; unless it is a dry run, return when they are there."""
        partition = self._index.partition
        seeds: list[str] = []
        left = await self._index.left(reader)
        await self._index.read(reader, bars(f"reading carts/{partition}", left), only=set(carts))
        advance = bars(f"seeding partition {partition}", len(carts))
        for some in pieces(carts, BATCH):
            states = await self._table.states(some)
            changes = [change for cart_id, text in states if (change := self._change(cart_id, text))]
            seeds += [change.cart_id for change, _ in changes]
            if not dry_run:
                await self._publish(changes)
            advance(len(some))
        if seeds and not dry_run:
            await self._await(reader, seeds, bars(f"folding partition {partition}", len(seeds)))

    async def _await(self, reader: RangeReader, seeds: list[str], advance: Advance) -> None:
        """Return when `carts` has the seeds. Names those it lacks if compaction is past them, or stands."""
        changed = TopicPartition(CART_CHANGED.name, self._index.partition)
        end = (await reader.bounds(changed)).end
        lacking = set(seeds)
        committed, moved_at = -1, time.monotonic()
        while True:
            before = await reader.committed(changed) or 0
            if before > committed:
                committed, moved_at = before, time.monotonic()
            await self._index.read(reader, silent("", 0), only=lacking)
            still = await self._lacking(lacking)
            advance(len(lacking) - len(still))
            lacking = still
            if not lacking:
                return
            if committed >= end or time.monotonic() - moved_at > PATIENCE_S:
                break
            await asyncio.sleep(POLL_S)
        for cart_id in sorted(lacking):
            self._seeded.note(Plan.NOT_FOLDED, cart_id)

    async def _lacking(self, seeds: Collection[str]) -> set[str]:
        """Those of the seeded carts that `carts` still lacks; names those that it will never have."""
        lacking: set[str] = set()
        for some in pieces(sorted(seeds), BATCH):
            for cart_id, text in await self._table.states(some):
                try:
                    decided = self._decide(cart_id, _STATE.decode(text))
                except RecordError as error:
                    self._seeded.note(Plan.UNREADABLE, f"{cart_id}: {error}")
                    continue
                if decided is Plan.SEED:
                    lacking.add(cart_id)
                elif decided in REFUSED:
                    self._seeded.note(decided, cart_id)
        return lacking

    def _decide(self, cart_id: str, row: State) -> Plan:
        """What becomes of a row. Raises RecordError if nobody can read what `carts` has."""
        entry = self._index.entries.get(cart_id)
        found = None if entry is None else entry.found()
        return plan(row, found, self._index.purge_floor) if row.version_number else Plan.THERE

    def _change(self, cart_id: str, text: str) -> tuple[Change, bytes] | None:
        """The change for a row and its encoding; none if nothing is to be published."""
        try:
            row = _STATE.decode(text)
            decided = self._decide(cart_id, row)
        except (msgspec.MsgspecError, RecordError) as error:
            self._seeded.note(Plan.UNREADABLE, f"{cart_id}: {error}")
            return None
        if decided is not Plan.SEED:
            self._seeded.note(decided, cart_id)
            return None
        change = seed(cart_id, row, _TREE.decode(text))
        value = encode_change(change)
        if len(value) > MAX_BYTES:
            self._seeded.note(Plan.TOO_LARGE, f"{cart_id}: {len(value)} bytes")
            return None
        self._seeded.note(Plan.SEED, cart_id)
        return change, value

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
