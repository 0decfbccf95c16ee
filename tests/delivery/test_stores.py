"""The local store on real files: what it keeps, what it throws away, and whom it keeps out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from delivery import stores
from delivery.errors import StoreInUse, StoreUnusable
from delivery.stores import LocalStore, Position

THERE = Position("a-topic-id", 7, 1000.0)


class Ended(Exception):
    """What the process says before it ends."""


def local_store(folder: Path) -> LocalStore:
    return LocalStore(folder, cache_bytes=1 << 20, write_buffer_bytes=1 << 20)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    opened = local_store(tmp_path / "store")
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What the process has said before it would have ended."""
    said: list[dict[str, object]] = []

    def fail_stop(event: str, **details: object) -> None:
        said.append(details)
        raise Ended(event)

    monkeypatch.setattr(stores, "fail_stop", fail_stop)
    return said


def reopened(store: LocalStore) -> LocalStore:
    store.close()
    store.open()
    return store


def test_states_and_position_are_there_after_a_reopening(store: LocalStore) -> None:
    store.write(1, [(b"a", b"1"), (b"b", b"2")], THERE)
    store.write(1, [(b"a", None)], Position("a-topic-id", 8, 1000.0))
    found = reopened(store)
    assert (found.get(1, b"a"), found.get(1, b"b")) == (None, b"2")
    assert found.get_many(1, [b"b", b"a", b"b"]) == [b"2", None, b"2"]
    assert found.positions() == {1: Position("a-topic-id", 8, 1000.0)}


def test_partitions_are_kept_apart(store: LocalStore) -> None:
    keys = [b"", b"\x00", b"a", b"\xff" * 5]
    for partition in (0, 1, 255, 256, 65_535):
        store.write(partition, [(key, b"%d" % partition) for key in keys], THERE)
    assert list(store.items(255)) == [(key, b"255") for key in keys]
    store.discard(255)
    assert list(store.items(255)) == []
    assert set(store.positions()) == {0, 1, 256, 65_535}
    assert list(store.items(256)) == [(key, b"256") for key in keys]
    assert store.get(0, b"a") == b"0"


def test_a_discarded_partition_can_be_filled_again(store: LocalStore) -> None:
    store.write(1, [(b"a", b"1"), (b"b", b"2")], THERE)
    store.discard(1)
    store.write(1, [(b"a", b"3")], THERE)
    assert list(reopened(store).items(1)) == [(b"a", b"3")]


def test_a_process_that_is_killed_leaves_whole_batches(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
import os, signal
from delivery.stores import LocalStore, Position
store = LocalStore(Path({str(tmp_path / "store")!r}), cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
store.open()
for n in range(1, 5000):
    states = [(b"%d" % (key % 700), b"%d" % key) for key in range(10 * n, 10 * n + 10)]
    store.write(1, states, Position("t", n, 0.0))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    store = local_store(tmp_path / "store")
    store.open()
    n = store.positions()[1].offset
    assert n == 4999
    wanted = {b"%d" % (key % 700): b"%d" % key for key in range(10, 10 * n + 10)}
    assert dict(store.items(1)) == wanted
    store.close()


def test_a_store_of_another_format_is_thrown_away(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write(1, [(b"a", b"1")], THERE)
    monkeypatch.setattr(stores, "FORMAT", b"another")
    assert reopened(store).positions() == {}
    assert store.get(1, b"a") is None
    assert "store.thrown_away" in capsys.readouterr().out


def test_files_that_cannot_be_opened_are_thrown_away(
    store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "thrown_away" not in capsys.readouterr().out
    store.write(1, [(b"a", b"1")], THERE)
    store.close()
    (manifest,) = (tmp_path / "store" / "states").glob("MANIFEST-*")
    manifest.write_bytes(b"garbage")
    store.open()
    assert store.positions() == {}
    assert "store.thrown_away" in capsys.readouterr().out
    store.write(1, [(b"a", b"2")], THERE)
    assert reopened(store).get(1, b"a") == b"2"


def test_a_block_that_cannot_be_read_ends_the_process_and_the_next_one_begins_anew(
    store: LocalStore, tmp_path: Path, ends: list[dict[str, object]]
) -> None:
    store.write(1, [(b"%06d" % n, os.urandom(500)) for n in range(2000)], THERE)
    store.close()
    _flush(tmp_path / "store" / "states")
    for table in (tmp_path / "store" / "states").glob("*.sst"):
        with table.open("r+b") as file:
            file.seek(table.stat().st_size // 3)
            file.write(b"x" * (table.stat().st_size // 3))
    store.open()
    with pytest.raises(Ended, match=r"store\.failed"):
        store.get(1, b"001000")
    with pytest.raises(Ended):
        store.get_many(1, [b"001000"])
    with pytest.raises(Ended):
        list(store.items(1))
    assert [said["damaged"] for said in ends] == [True, True, True]
    assert reopened(store).positions() == {}
    store.write(1, [(b"a", b"1")], THERE)
    assert reopened(store).get(1, b"a") == b"1"


def test_what_cannot_be_written_ends_the_process_and_throws_nothing_away(
    store: LocalStore, ends: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(1, [(b"a", b"1")], THERE)

    class Full:
        def write(self, _: object) -> None:
            raise Exception("IO error: No space left on device")  # noqa: TRY002  (as rocksdict does)

    with monkeypatch.context() as full:
        full.setattr(LocalStore, "_database", Full())
        with pytest.raises(Ended):
            store.write(1, [(b"a", b"2")], THERE)
    assert ends[0]["damaged"] is False
    assert reopened(store).get(1, b"a") == b"1"


def test_a_folder_that_another_process_has_is_named_with_what_to_do(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LOCKED_FOR_S", 0.2)
    with pytest.raises(StoreInUse, match=r"another process.*CARTSTREAM_DATADIR"):
        local_store(tmp_path / "store").open()
    store.close()
    other = local_store(tmp_path / "store")
    other.open()
    other.close()


@pytest.mark.parametrize("folder", ["/proc/cartstream", "/dev/null/cartstream"])
def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(folder: str) -> None:
    with pytest.raises(StoreUnusable, match=rf"{folder} cannot be used \(.*CARTSTREAM_DATADIR"):
        local_store(Path(folder)).open()


def _flush(files: Path) -> None:
    """Move what is in the write-ahead log into the tables."""
    database = Rdict(str(files), options=Options(raw_mode=True))
    database.flush()
    database.compact_range(None, None)
    database.close()
