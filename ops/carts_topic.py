"""What `carts` says of every cart of a partition: of each the highest record, as bytes until it is needed."""

from collections.abc import Collection

import msgspec
from aiokafka import TopicPartition

from carts.protocol import Alive, Deleted, keep_recovered
from carts.state import State
from ops.progress import Advance
from ops.reading import Record
from sinks.redis.reading import StretchReader
from topics.codec import decode_purge_floor, decode_state, decode_version
from topics.errors import RecordError
from topics.headers import version_header
from topics.partitioner import partition_of
from topics.records import PURGE_FLOOR_PREFIX
from topics.registry import CARTS


class Entry(msgspec.Struct, frozen=True):
    """The record that counts for a cart; no value: deleted."""

    recorded: Alive | Deleted
    value: bytes | None

    def found(self) -> State | Deleted:
        """What it says. Raises RecordError for a state that nobody can read."""
        return self.recorded if isinstance(self.recorded, Deleted) else decode_state(self.value)


class Ledger:
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

    async def left(self, reader: StretchReader) -> int:
        """How many offsets there are to read. Raises KafkaError."""
        first, end = await reader.bounds(TopicPartition(CARTS.name, self.partition))
        return max(0, end - max(first, self.position))

    async def read(
        self, reader: StretchReader, advance: Advance, *, only: Collection[str] | None = None
    ) -> None:
        """Read on to the present end of the topic; `only` keeps just these carts.

        Raises KafkaError, ReadStalled.
        """
        place = TopicPartition(CARTS.name, self.partition)
        first, end = await reader.bounds(place)
        self.position = max(first, self.position)
        async for records in reader.read(place, self.position, end):
            for record in records:
                self.take(record, only)
            advance(records[-1].offset + 1 - self.position)
            self.position = records[-1].offset + 1
        # What compaction has emptied counts as read.
        advance(max(0, end - self.position))
        self.position = max(end, self.position)

    def take(self, record: Record, only: Collection[str] | None = None) -> None:
        """Keep what the record says if it is the highest so far."""
        key: bytes | None = record.key
        try:
            if key is not None and key.startswith(PURGE_FLOOR_PREFIX):
                self.purge_floor = max(self.purge_floor, decode_purge_floor(record.value).purge_floor)
                return
            if key is None or partition_of(key, self._partitions) != self.partition:
                self.unreadable.append(record.offset)
                return
            cart_id = key.decode(errors="replace")
            if only is not None and cart_id not in only:
                return
            entry = _entry(record)
        except RecordError:
            self.unreadable.append(record.offset)
            return
        before = self.entries.get(cart_id)
        if entry is not None and (
            before is None or keep_recovered(before.recorded, entry.recorded) is entry.recorded
        ):
            self.entries[cart_id] = entry

    def forget_all_but(self, carts: Collection[str]) -> None:
        """Let go of what is not needed any more."""
        self.entries = {cart_id: entry for cart_id, entry in self.entries.items() if cart_id in carts}


def _entry(record: Record) -> Entry | None:
    version = version_header(record.headers)
    if record.value is None:
        # A null without the version it deletes is somebody's mistake and deletes nothing.
        return None if version is None else Entry(Deleted(version), None)
    if version is None:
        version = decode_version(record.value)
    return Entry(Alive(version), record.value)
