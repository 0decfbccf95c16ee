"""How the compaction agent's table is rebuilt from `carts`: of each cart the highest version is kept.

A compacted topic ends with the last record of a key, not with the highest: a worker that was frozen and woke
up may have written after its successor. Whatever the table keeps against the log is sent again.
"""

from collections.abc import Callable, Mapping

from carts.protocol import Alive, Deleted, emit_again, keep_recovered
from carts.state import Version
from delivery.changelog import Headers
from topics.cart_records import DeletionRecord, interpret
from topics.codec import decode_purge_floor, decode_version
from topics.errors import RecordError
from topics.headers import cart_headers, purge_floor_headers, tombstone_headers
from topics.partitioner import partition_in_carts
from topics.records import PURGE_FLOOR_PREFIX, PurgeFloor, purge_floor_key_in_carts


class Recovery:
    """The table's rules; remembers purge floors, and deletions that the log contradicts."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.written: Mapping[int, int] = {}
        """Floors that were written before, of the partitions that are about to be read."""
        self._floors: dict[int, int] = {}
        self._deleted: dict[bytes, Version] = {}

    def floor(self, partition: int) -> int:
        """The highest version deleted in the partition, as far as it is known."""
        return self._floors.get(partition, 0)

    def raise_floor(self, partition: int, floor: int) -> None:
        """Remember a floor, unless a higher one is known."""
        if floor > self.floor(partition):
            self._floors[partition] = floor

    def note_floor(self, key: bytes, value: bytes | None) -> int:
        """Remember a purge floor that stood in `carts` once; the highest of its partition so far."""
        partition = self._partition(key)
        self.raise_floor(partition, _floor(value))
        return self.floor(partition)

    def keep(self, key: bytes, held: bytes | None, read: bytes | None, headers: Headers) -> bytes | None:
        """What the table holds from now on: its own value or the one read; None is absent or deleted."""
        try:
            said = interpret(key, read, headers)
            if said is None:
                return held
            if isinstance(said, PurgeFloor):
                self.note_floor(key, held)
                return read if said.purge_floor >= self.note_floor(key, read) else held
            found = Deleted(said.version) if isinstance(said, DeletionRecord) else Alive(said.version())
        except RecordError:
            # Unreadable records are never held: the table's own value is sent again.
            return held
        if isinstance(found, Deleted):
            self.raise_floor(self._partition(key), found.version.number)
        if held is None:
            if not emit_again(None, found, self.floor(self._partition(key))):
                self._deleted.pop(key, None)
                return read
            self._deleted[key] = found.version
            return None
        own = Alive(decode_version(held))
        return held if keep_recovered(own, found) is own else read

    def opened(
        self, partition: int, get: Callable[[bytes], bytes | None], *, is_rebuilt: bool = False
    ) -> None:
        """Forget the partition's earlier ownership; take in its purge floor if its store holds its carts.

        A floor that counts while an empty store is filled would make every live cart below it look like one
        that a late worker wrote again: such a cart stands in `carts` before the deletion that raised the
        floor. What a tombstone says counts for what comes after it.
        """
        self._floors.pop(partition, None)
        self._deleted = {
            key: version for key, version in self._deleted.items() if self._partition(key) != partition
        }
        if not is_rebuilt:
            self.raise_floor(partition, self.written.get(partition, 0))
        key = purge_floor_key_in_carts(partition)
        self.note_floor(key, get(key))

    def headers_of(self, key: bytes, value: bytes | None) -> Headers:
        """The headers of a record that is sent again."""
        if key.startswith(PURGE_FLOOR_PREFIX):
            return purge_floor_headers(self._partition(key), _floor(value), None)
        if value is None:
            # The answer to an unreadable record must delete no copy: it has the lowest version.
            return tombstone_headers(key.decode(), self._deleted.get(key, Version()), None)
        return cart_headers(key.decode(), decode_version(value), None)

    def _partition(self, key: bytes) -> int:
        return partition_in_carts(key, self._partitions)


def _floor(value: bytes | None) -> int:
    return decode_purge_floor(value).purge_floor if value is not None else 0
