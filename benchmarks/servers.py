"""The servers under measurement: the product's stack, and the baselines beside it."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from devstack.embedded import EmbeddedStack

WARM_UP_S: Final = 30.0
"""Load before the first figure: so long Java compiles what Kafka's broker does often."""


@contextmanager
def baseline(kind: str, port: int, postgres_url: str) -> Iterator[str]:
    """`bare` or `monolith` on 127.0.0.1:`port` in a process of its own; yields its URL once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.baseline", kind, str(port)],
        env={**os.environ, "CARTSTREAM_POSTGRES_URL": postgres_url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(f"{url}/v1/carts/nobody", process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    """Returns once the URL answers. Raises what the last attempt raised if it never does."""
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - loopback, our own
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)
        else:
            return


def cpu_seconds(stack: EmbeddedStack, names: list[str]) -> dict[str, float]:
    """CPU seconds so far of each named component, its children included."""
    return {name: sum(_cpu(pid) for pid in _family(stack.component(name).pid)) for name in names}


def rss_bytes(stack: EmbeddedStack, names: Sequence[str]) -> dict[str, int]:
    """Resident memory now of each named component, its children included."""
    return {name: sum(_rss(pid) for pid in _family(stack.component(name).pid)) for name in names}


def renice(stack: EmbeddedStack, names: list[str], niceness: int) -> None:
    """Lower the priority of components, their children included.

    Linux groups processes by session for scheduling (autogroup), and niceness only counts within a group: the
    group is niced, too.
    """
    for name in names:
        for pid in _family(stack.component(name).pid):
            psutil.Process(pid).nice(niceness)
            group = Path(f"/proc/{pid}/autogroup")
            if group.exists():
                group.write_text(str(niceness))


def _family(pid: int | None) -> list[int]:
    if pid is None:
        return []
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _rss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _cpu(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
