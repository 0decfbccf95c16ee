"""Where a worker keeps the acknowledged states of its tables: a rocksdict database that survives kill -9.

States enter it once the broker has acknowledged them, in one write batch with their offset in the changelog.
So after any death it holds the changelog up to that offset, and the next process reads on from there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, NoReturn, cast

import msgspec
import structlog
from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, ReadOptions, WriteBatch

from delivery.errors import StoreInUse, StoreUnusable
from runtime.failstop import fail_stop

log = structlog.get_logger(__name__)

FORMAT: Final = b"1"
"""Of keys and positions. A store of another format is thrown away and read from the changelog again."""

LOCKED_FOR_S: Final = 3.0
"""How long a process that was killed may take to let go of its folder."""

BLOCK_BYTES: Final = 8 << 10
FILTER_BITS: Final = 10
OPEN_FILES: Final = 64

# First bytes of the keys. States are ordered by partition, so that one can be read or removed as a range.
_FORMAT: Final = b"f"
_POSITION: Final = b"p"
_STATE: Final = b"s"


class Position(msgspec.Struct, frozen=True):
    """How far the store knows the changelog of one partition."""

    topic_id: str
    """Of the changelog; empty for a cluster that gives its topics no ids."""
    offset: int
    """Every record below it is in the store."""
    as_of: float
    """Seconds since 1970: when the store had reached the end of the log, or began to be filled. Deletions
    from `offset` on stay in the log until then and the topic's `delete.retention.ms`."""
    record_time: int = 0
    """The timestamp of the record before `offset`, in milliseconds; 0: not known."""
    lost_below: int = 0
    """Above 0: the log has lost its end, which was here, and does not have all of the store again yet."""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Position).decode


class LocalStore:
    """Values by partition and key, in bytes, and the position of each partition. One process at a time.

    What it cannot read or write ends the process with code 75; if the files are damaged, the next one begins
    with an empty store.
    """

    def __init__(self, folder: Path, *, cache_bytes: int, write_buffer_bytes: int) -> None:
        """Opens nothing. The store takes `cache_bytes`, twice `write_buffer_bytes`, and its indexes."""
        self._folder = folder
        self._cache_bytes = cache_bytes
        self._write_buffer_bytes = write_buffer_bytes
        self._lock: IO[bytes] | None = None
        self._opened: Rdict | None = None

    def open(self) -> None:
        """Take the folder, and what it holds if this version can read it.

        Raises StoreInUse if another process has the folder, StoreUnusable if it cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self._folder / "lock")
            if self._damage_mark.exists():
                self._remove("a block could not be read")
            self._opened = self._open_or_begin_anew()
        except OSError as error:
            raise StoreUnusable(cannot_be_used(self._folder, error)) from error

    def close(self) -> None:
        """Let go of the folder."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def positions(self) -> dict[int, Position]:
        """The position of every partition that the store has something of."""
        found: dict[int, Position] = {}
        for key, value in self._range(_POSITION, _after(_POSITION)):
            found[int.from_bytes(key[len(_POSITION) :])] = _decode(value)
        return found

    def get(self, partition: int, key: bytes) -> bytes | None:
        """The value, None if there is none."""
        try:
            value: bytes | None = self._database.get(_state_key(partition, key))
        except Exception as error:  # noqa: BLE001  (rocksdict has no other)
            self._fail(error)
        return value

    def get_many(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of several keys, in their order."""
        try:
            values: Any = self._database.get([_state_key(partition, key) for key in keys])
        except Exception as error:  # noqa: BLE001  (rocksdict has no other)
            self._fail(error)
        return cast("list[bytes | None]", values)

    def write(self, partition: int, states: Iterable[tuple[bytes, bytes | None]], position: Position) -> None:
        """Set the states (None deletes) and the partition's position; after kill -9 all of it or nothing."""
        batch = WriteBatch(raw_mode=True)
        for key, value in states:
            if value is None:
                batch.delete(_state_key(partition, key))
            else:
                batch.put(_state_key(partition, key), value)
        batch.put(_position_key(partition), _encode(position))
        self._write(batch)

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value of the partition, by key."""
        start = _state_key(partition, b"")
        for key, value in self._range(start, _after(start)):
            yield key[len(start) :], value

    def discard(self, partition: int) -> None:
        """Forget everything of the partition."""
        start = _state_key(partition, b"")
        batch = WriteBatch(raw_mode=True)
        batch.delete_range(start, _after(start))
        batch.delete(_position_key(partition))
        self._write(batch)

    # -- the database ----------------------------------------------------------------------------------

    @property
    def _database(self) -> Rdict:
        if self._opened is None:
            raise RuntimeError(f"the store {self._folder} is not open")
        return self._opened

    @property
    def _files(self) -> Path:
        return self._folder / "states"

    @property
    def _damage_mark(self) -> Path:
        return self._folder / "damaged"

    def _open_or_begin_anew(self) -> Rdict:
        database: Rdict | None = None
        try:
            database = self._connect()
            found = database.get(_FORMAT)
            if found is None and not database.latest_sequence_number():
                database[_FORMAT] = found = FORMAT
            if found == FORMAT:
                return database
            why = f"its format is {found!r}, not {FORMAT!r}"
        except Exception as error:  # noqa: BLE001  (rocksdict has no other)
            why = str(error)
        if database is not None:
            database.close()
        self._remove(why)
        try:
            database = self._connect()
            database[_FORMAT] = FORMAT
        except Exception as error:
            raise StoreUnusable(f"{self._folder} cannot be used: {error}") from error
        return database

    def _connect(self) -> Rdict:
        self._files.mkdir(exist_ok=True)
        return Rdict(str(self._files), options=_options(self._cache_bytes, self._write_buffer_bytes))

    def _remove(self, why: str) -> None:
        """Throw the files away: whatever they held is in the changelog."""
        log.error("store.thrown_away", folder=str(self._folder), why=why)
        shutil.rmtree(self._files, ignore_errors=True)
        self._damage_mark.unlink(missing_ok=True)

    def _range(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        bounded = ReadOptions()
        bounded.set_iterate_upper_bound(end)
        found = self._database.iter(bounded)
        found.seek(start)
        while found.valid():
            yield found.key(), found.value()
            found.next()
        try:
            # It ends at a block that cannot be read as it does at the end.
            found.status()
        except Exception as error:  # noqa: BLE001  (rocksdict has no other)
            self._fail(error)

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._database.write(batch)
        except Exception as error:  # noqa: BLE001  (rocksdict has no other)
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        damaged = str(error).startswith("Corruption")
        if damaged:
            # The block may be one that is seldom read: without the mark each process would end on meeting it.
            self._damage_mark.touch()
        fail_stop("store.failed", folder=str(self._folder), damaged=damaged, error=str(error))


def cannot_be_used(folder: Path, error: OSError) -> str:
    """The sentence for an operator whose worker cannot write its folder."""
    return (
        f"{folder} cannot be used ({error.strerror}): CARTSTREAM_DATADIR must be a folder that the user "
        f"{os.geteuid()} may write to"
    )


def _options(cache_bytes: int, write_buffer_bytes: int) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(Cache(cache_bytes))
    table.set_block_size(BLOCK_BYTES)
    table.set_bloom_filter(FILTER_BITS, block_based=False)
    # Inside the cache they push each other out: a tenth of the lookups per second.
    table.set_cache_index_and_filter_blocks(v=False)
    options = Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(write_buffer_bytes)
    options.set_max_write_buffer_number(2)
    options.set_max_background_jobs(2)
    options.set_max_open_files(OPEN_FILES)
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    return options


def _lock(path: Path) -> IO[bytes]:
    """The file, locked for this process; the lock ends with it. Raises StoreInUse, OSError."""
    file = path.open("ab")
    deadline = time.monotonic() + LOCKED_FOR_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise StoreInUse(
                    f"{path.parent} belongs to another process that is running: stop that one, or give this "
                    f"one a CARTSTREAM_DATADIR and a CARTSTREAM_GROUP_INSTANCE_ID of its own"
                ) from None
            time.sleep(0.1)
        else:
            return file


def _state_key(partition: int, key: bytes) -> bytes:
    return _STATE + partition.to_bytes(4) + key


def _position_key(partition: int) -> bytes:
    return _POSITION + partition.to_bytes(4)


def _after(prefix: bytes) -> bytes:
    """The first key behind all that begin with the prefix, which must not end with 0xFF bytes only."""
    return (int.from_bytes(prefix) + 1).to_bytes(len(prefix))
