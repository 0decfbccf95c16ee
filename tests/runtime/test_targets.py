"""Prometheus finds a process by its file, and sees that it is down when it was killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.targets import MetricsTarget

_ANOTHER = """
import sys, time
from pathlib import Path
from runtime.targets import MetricsTarget
target = MetricsTarget(Path(sys.argv[1]), sys.argv[2], "another")
target.set("http://127.0.0.1:2")
print("written", flush=True)
time.sleep(600)
"""


def test_the_file_is_what_file_sd_reads_and_goes_with_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "targets"
    target = MetricsTarget(folder, "cartstream-jobs", "host-1")
    target.set("http://127.0.0.1:9400")
    (path,) = folder.iterdir()
    assert path.name == f"cartstream-jobs-{os.getpid()}.json"
    labels = {"process": "cartstream-jobs", "worker": "host-1"}
    assert json.loads(path.read_bytes()) == [{"targets": ["127.0.0.1:9400"], "labels": labels}]
    target.clear()
    target.clear()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("http://0.0.0.0:9400", "127.0.0.1:9400"),
        ("http://[::]:9400", "[::1]:9400"),
        ("http://[fe80::1]:9400", "[fe80::1]:9400"),
        ("http://carts.internal:9400", "carts.internal:9400"),
    ],
)
def test_the_address_is_one_by_which_this_host_can_ask(tmp_path: Path, address: str, asked: str) -> None:
    target = MetricsTarget(tmp_path, "p", "w")
    target.set(address)
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_bytes())[0]["targets"] == [asked]
    target.clear()


def test_without_folder_or_address_nothing_is_written(tmp_path: Path) -> None:
    MetricsTarget(None, "p", "w").set("http://127.0.0.1:1")
    MetricsTarget(tmp_path, "p", "w").set(None)
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_way_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "targets"
    folder.mkdir()
    for suffix in (".new", ".json"):
        (folder / f"p-{os.getpid()}{suffix}").symlink_to(precious)
    target = MetricsTarget(folder, "p", "w")
    target.set("http://127.0.0.1:1")
    (path,) = folder.iterdir()
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o077 == 0
    assert precious.read_text() == "mine"
    target.clear()
    assert precious.read_text() == "mine"


def test_a_folder_that_cannot_be_made_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = MetricsTarget(tmp_path / "file" / "targets", "p", "w")
    target.set("http://127.0.0.1:1")
    target.clear()


def test_what_a_killed_process_left_stays_until_the_next_one_of_its_name(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _ANOTHER, str(tmp_path), "cartstream-redis"], stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"written\n"
        theirs = tmp_path / f"cartstream-redis-{other.pid}.json"

        living = MetricsTarget(tmp_path, "cartstream-redis", "this")
        living.set("http://127.0.0.1:1")
        assert theirs.exists()
        living.clear()

        other.send_signal(signal.SIGKILL)
        other.wait()
        named_alike = MetricsTarget(tmp_path, "cartstream", "this")
        named_alike.set("http://127.0.0.1:1")
        assert theirs.exists()
        named_alike.clear()

        following = MetricsTarget(tmp_path, "cartstream-redis", "this")
        following.set("http://127.0.0.1:1")
        assert not theirs.exists()
        following.clear()
    finally:
        other.kill()
        other.wait()
        if other.stdout:
            other.stdout.close()
