"""Copies the states of carts to the topics of another generation, each to its cart's partition there.

It may run while carts change: it is done again for what came meanwhile, until nothing does. Records of a cart
keep their order, so the last one of each cart is the last one there, too. Doing it twice changes nothing for
readers, who take the highest version.

A deletion is copied after all states that were read with it. In a partition that takes in carts of several
others a deletion would else stand before carts that are older than it, and whoever reads the log from its
beginning would take these for carts that came back (streams.recovery).
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import gcd
from typing import Final

import msgspec
from aiokafka import TopicPartition

from ops.progress import Advance
from runtime.kafka.ranges import OffsetRange, RangeReader, Record
from topics.cart_records import DeletionRecord, StateRecord, interpret_in_place
from topics.codec import encode_purge_floor
from topics.errors import RecordError
from topics.generations import carts_of
from topics.headers import Headers, purge_floor_headers
from topics.partitioner import partition_of
from topics.publishing import Publisher
from topics.purge_floors import read_purge_floors
from topics.records import PurgeFloor, purge_floor_key
from topics.registry import CARTS, PURGE_FLOORS, in_generation

BATCH: Final = 2000
AT_ONCE: Final = 16
"""Batches that are on their way to Kafka."""

Copied = tuple[bytes | None, bytes | None, Headers]


class Sorted(msgspec.Struct):
    """Records of one partition by what is to be done with them."""

    states: dict[int, list[Copied]] = msgspec.field(default_factory=dict)
    """By partition of the other generation, in their order."""
    deletions: dict[bytes, Headers] = msgspec.field(default_factory=dict)
    """By cart, of those that were not written again since."""
    alive: set[bytes] = msgspec.field(default_factory=set)
    """Carts with a state after which no deletion comes."""
    purge_floor: int = 0
    """The highest that stood among the carts, as it did once."""
    left_out: int = 0
    """Records that no reader takes: of no cart, in a partition that is not their cart's, unreadable."""


def sort_records(records: Sequence[Record], partitions: int, target: int) -> Sorted:
    """Sort records of one partition of `carts`, which has so many, for one with `target`. Pure."""
    found = Sorted()
    for record in records:
        try:
            said = interpret_in_place(record, partitions)
        except RecordError:
            found.left_out += 1
            continue
        match said:
            case StateRecord():
                place = partition_of(record.key, target)
                headers = list(record.headers)
                found.states.setdefault(place, []).append((record.key, record.value, headers))
                found.deletions.pop(record.key, None)
                found.alive.add(record.key)
            case DeletionRecord():
                found.deletions[record.key] = list(record.headers)
                found.alive.discard(record.key)
            case PurgeFloor():
                found.purge_floor = max(found.purge_floor, said.purge_floor)
            case _:
                found.left_out += 1
    return found


def floors_after(floors: Mapping[int, int], target: int) -> dict[int, int]:
    """The purge floors of `target` partitions: of each the highest of all whose carts can come into it. Pure.

    A cart in partition p of n has a hash that is p modulo n. So it can be in q of m only if p and q are the
    same modulo what n and m have in common.
    """
    common = gcd(len(floors), target)
    highest: defaultdict[int, int] = defaultdict(int)
    for partition, floor in floors.items():
        highest[partition % common] = max(highest[partition % common], floor)
    return {partition: highest[partition % common] for partition in range(target)}


class CartsCopy:
    """The copying of one generation's carts to another one with `target` partitions."""

    def __init__(
        self, reader: RangeReader, publisher: Publisher, partitions: int, generation: int, target: int
    ) -> None:
        """`publisher` and `reader` are connected and belong to the caller."""
        self._reader = reader
        self._publisher = publisher
        self._partitions = partitions
        self._generation = generation
        self._target = target
        self._topic = carts_of(generation)
        self._floors: defaultdict[int, int] = defaultdict(int)
        self.read_to: dict[int, int] = {}
        """The next offset of each partition that was read."""
        self.states = 0
        self.deletions = 0
        self.left_out = 0

    async def left(self) -> dict[TopicPartition, OffsetRange]:
        """What there is to copy now."""
        places = [TopicPartition(CARTS.name, partition) for partition in range(self._partitions)]
        bounds = await self._reader.bounds_of(places)
        return {
            place: OffsetRange(max(span.start, self.read_to.get(place.partition, 0)), span.end)
            for place, span in bounds.items()
        }

    async def copy(self, spans: Mapping[TopicPartition, OffsetRange], advance: Advance) -> None:
        """Copy what `left` has told. Raises KafkaError, ReadStalled, TimeoutError: begin a new copy then."""
        deletions: dict[bytes, Headers] = {}
        under_way: dict[int, asyncio.Task[None]] = {}
        try:
            async for records in self._reader.read(spans, batch=BATCH):
                partition = records[0].partition
                found = sort_records(records, self._partitions, self._target)
                self._note(partition, found, deletions)
                # One at a time of each partition that is read: so the records of a cart keep their order.
                if len(under_way) >= AT_ONCE or partition in under_way:
                    await asyncio.gather(*under_way.values())
                    under_way.clear()
                under_way[partition] = asyncio.create_task(self._publish(found.states))
                advance(len(records))
            await asyncio.gather(*under_way.values())
        finally:
            for task in under_way.values():
                task.cancel()
        await self._publish(self._at_their_places(deletions))
        self.deletions += len(deletions)
        self.read_to |= {place.partition: span.end for place, span in spans.items()}

    def _note(self, partition: int, found: Sorted, deletions: dict[bytes, Headers]) -> None:
        self._floors[partition] = max(self._floors[partition], found.purge_floor)
        for key in found.alive:
            deletions.pop(key, None)
        deletions |= found.deletions
        self.states += sum(map(len, found.states.values()))
        self.left_out += found.left_out

    async def copy_purge_floors(self) -> None:
        """Write the purge floors of the other generation; after the last copy. Raises as `copy`."""
        floors = await read_purge_floors(self._reader, range(self._partitions))
        known = {partition: max(floor, self._floors[partition]) for partition, floor in floors.items()}
        topic = in_generation(PURGE_FLOORS, self._generation).name
        await asyncio.gather(
            *(
                self._publisher.publish(
                    topic,
                    partition,
                    purge_floor_key(partition),
                    encode_purge_floor(PurgeFloor(floor)),
                    purge_floor_headers(partition, floor, None),
                )
                for partition, floor in floors_after(known, self._target).items()
                if floor
            )
        )

    def _at_their_places(self, deletions: Mapping[bytes, Headers]) -> dict[int, list[Copied]]:
        placed: dict[int, list[Copied]] = {}
        for key, headers in deletions.items():
            placed.setdefault(partition_of(key, self._target), []).append((key, None, headers))
        return placed

    async def _publish(self, records: Mapping[int, Sequence[Copied]]) -> None:
        await asyncio.gather(
            *(self._publisher.publish_all(self._topic, place, some) for place, some in records.items())
        )
