"""An index of `carts`: the highest record of every cart of a partition, as bytes until it is needed."""

from collections.abc import Collection

import msgspec
from aiokafka import TopicPartition

from carts.protocol import Alive, Deleted, keep_recovered
from carts.state import State
from ops.progress import Advance
from runtime.kafka.ranges import OffsetRange, RangeReader, Record
from topics.cart_records import DeletionRecord, StateRecord, interpret_in_place
from topics.codec import decode_state
from topics.errors import RecordError
from topics.purge_floors import read_purge_floors
from topics.records import PurgeFloor
from topics.registry import CARTS


class Entry(msgspec.Struct, frozen=True):
    """The highest record of a cart; without a value the cart is deleted."""

    recorded: Alive | Deleted
    value: bytes | None

    def found(self) -> State | Deleted:
        """The state or deletion. Raises RecordError for an unreadable state."""
        return self.recorded if isinstance(self.recorded, Deleted) else decode_state(self.value)


class CartsIndex:
    """The entries of one partition by cart id, the highest version ever deleted, and unreadable offsets.

    Memory: about what the partition's newest records take.
    """

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition = partition
        self.purge_floor = 0
        self.entries: dict[str, Entry] = {}
        self.unreadable: list[int] = []
        self.position = 0
        self._partitions = partitions

    async def left(self, reader: RangeReader) -> int:
        """How many offsets are left to read. Raises KafkaError."""
        first, end = await reader.bounds(TopicPartition(CARTS.name, self.partition))
        return max(0, end - max(first, self.position))

    async def read(
        self, reader: RangeReader, advance: Advance, *, only: Collection[str] | None = None
    ) -> None:
        """Read to the current end of the topic; with `only` keep just these carts.

        Raises KafkaError, ReadStalled.
        """
        place = TopicPartition(CARTS.name, self.partition)
        first, end = await reader.bounds(place)
        self.position = max(first, self.position)
        async for records in reader.read({place: OffsetRange(self.position, end)}):
            for record in records:
                self.take(record, only)
            advance(records[-1].offset + 1 - self.position)
            self.position = records[-1].offset + 1
        floors = await read_purge_floors(reader, [self.partition])
        self.purge_floor = max(self.purge_floor, floors[self.partition])
        # Offsets that compaction has emptied count as read.
        advance(max(0, end - self.position))
        self.position = max(end, self.position)

    def take(self, record: Record, only: Collection[str] | None = None) -> None:
        """Keep the record if it is the highest of its cart so far."""
        try:
            said = interpret_in_place(record, self._partitions)
            if isinstance(said, PurgeFloor):
                self.purge_floor = max(self.purge_floor, said.purge_floor)
            elif said is not None and (only is None or said.cart_id in only):
                self._keep(said.cart_id, _entry(said))
        except RecordError:
            self.unreadable.append(record.offset)

    def _keep(self, cart_id: str, entry: Entry) -> None:
        before = self.entries.get(cart_id)
        if before is None or keep_recovered(before.recorded, entry.recorded) is entry.recorded:
            self.entries[cart_id] = entry

    def forget_all_but(self, carts: Collection[str]) -> None:
        """Drop all other carts."""
        self.entries = {cart_id: entry for cart_id, entry in self.entries.items() if cart_id in carts}


def _entry(said: StateRecord | DeletionRecord) -> Entry:
    if isinstance(said, DeletionRecord):
        return Entry(Deleted(said.version), None)
    return Entry(Alive(said.version()), said.value)
