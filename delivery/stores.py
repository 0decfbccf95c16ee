"""Where a table keeps its state between replays: memory, or rocksdict for tables larger than memory."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import structlog
from rocksdict import Options, Rdict
from typing_extensions import override

log = structlog.get_logger(__name__)


class Store(Protocol):
    """Keys and values in bytes, kept apart by partition."""

    def open(self, partition: int) -> int | None:
        """Get the partition ready; returns the changelog offset to replay from, None for the beginning."""

    def discard(self, partition: int) -> None:
        """Forget everything of the partition, and leave it open and empty if it is open."""

    def close(self, partition: int) -> None:
        """Forget the partition: another worker owns it now."""

    def close_cleanly(self, offsets: Mapping[int, int]) -> None:
        """Close all at the end of the process; `offsets` says up to where each reflects its changelog."""

    def get(self, partition: int, key: bytes) -> bytes | None:
        """The value, None if there is none."""

    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        """Set, or with None delete."""

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value."""

    def partitions(self) -> set[int]:
        """Those that are open."""


class MemoryStore(Store):
    """The default: rebuilt from the changelog by every process, and the fastest per event."""

    def __init__(self) -> None:
        self._values: dict[int, dict[bytes, bytes]] = {}

    @override
    def open(self, partition: int) -> int | None:
        self._values[partition] = {}
        return None

    @override
    def discard(self, partition: int) -> None:
        self._values[partition] = {}

    @override
    def close(self, partition: int) -> None:
        self._values.pop(partition, None)

    @override
    def close_cleanly(self, offsets: Mapping[int, int]) -> None:
        self._values.clear()

    @override
    def get(self, partition: int, key: bytes) -> bytes | None:
        return self._values[partition].get(key)

    @override
    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._values[partition].pop(key, None)
        else:
            self._values[partition][key] = value

    @override
    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        yield from self._values[partition].items()

    @override
    def partitions(self) -> set[int]:
        return set(self._values)


class RocksStore(Store):
    """One rocksdict database a partition, believed only after a clean stop.

    After kill -9 the database is ahead of the changelog: the put was made, the send was not, and the
    re-delivered event then changes nothing and is never sent. A marker file with the changelog offset is
    written as the last act of a clean stop and removed before the database is used again.
    """

    def __init__(self, folder: Path, max_age_s: float) -> None:
        self._folder = folder
        self._max_age_s = max_age_s
        self._databases: dict[int, Rdict] = {}

    @override
    def open(self, partition: int) -> int | None:
        offset = self._take_marker(partition)
        if offset is None:
            shutil.rmtree(self._path(partition), ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._databases[partition] = Rdict(str(self._path(partition)), options=Options(raw_mode=True))
        log.info("store.opened", partition=partition, trusted=offset is not None, changelog_offset=offset)
        return offset

    @override
    def discard(self, partition: int) -> None:
        self.close(partition)
        self._databases[partition] = Rdict(str(self._path(partition)), options=Options(raw_mode=True))

    @override
    def close(self, partition: int) -> None:
        if database := self._databases.pop(partition, None):
            database.close()
        shutil.rmtree(self._path(partition), ignore_errors=True)

    @override
    def close_cleanly(self, offsets: Mapping[int, int]) -> None:
        for partition, database in self._databases.items():
            database.flush()
            database.close()
            if partition in offsets:
                note = {"changelog_offset": offsets[partition], "stopped_at": time.time()}
                partial = self._marker(partition).with_suffix(".partial")
                partial.write_text(json.dumps(note))
                partial.replace(self._marker(partition))
        self._databases.clear()

    @override
    def get(self, partition: int, key: bytes) -> bytes | None:
        value: bytes | None = self._databases[partition].get(key)
        return value

    @override
    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._databases[partition].delete(key)
        else:
            self._databases[partition][key] = value

    @override
    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        yield from self._databases[partition].items()

    @override
    def partitions(self) -> set[int]:
        return set(self._databases)

    def _take_marker(self, partition: int) -> int | None:
        try:
            note = json.loads(self._marker(partition).read_text())
            offset, age = int(note["changelog_offset"]), time.time() - float(note["stopped_at"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError):
            log.warning("store.marker_unreadable", partition=partition)
            return None
        finally:
            self._marker(partition).unlink(missing_ok=True)
        return offset if 0 <= age <= self._max_age_s else None

    def _path(self, partition: int) -> Path:
        return self._folder / f"{partition}.db"

    def _marker(self, partition: int) -> Path:
        return self._folder / f"{partition}.clean"
