"""Twice as many requests as one gateway can answer, for a minute, while 200 clients read next to nothing.

The bar: those accepted wait at most three times as long as at capacity (p99), the others are told so within
100 ms, nobody gets no answer, memory comes back, and two seconds after the load all is as before.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.gateway import AGENTS
from benchmarks.open_loop import Outcome, Plan
from benchmarks.servers import WARM_UP_S, rss_bytes
from devstack.components import usual
from devstack.embedded import EmbeddedStack
from devstack.settings import StackSettings

SECONDS: Final = 60.0
CAPACITY_SECONDS: Final = 10.0
CARTS: Final = 4000
CONNECTIONS: Final = 128
OPEN_CONNECTIONS: Final = 1000
SLOW_READERS: Final = 200
CALM_S: Final = 10.0
GATEWAY: Final = "gateway"
_MIB: Final = 1024 * 1024


class Memory:
    """The gateway's resident memory, looked at each second."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self._stack: Final = stack
        self._over: Final = threading.Event()
        self.most = 0

    def now(self) -> int:
        """In bytes."""
        return rss_bytes(self._stack, [GATEWAY])[GATEWAY]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the most that was seen."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            self.most = max(self.most, self.now())


def run(folder: Path, console: Console, seconds: float = SECONDS) -> dict[str, Any]:
    """Measure the capacity, then ask for twice as much for so many seconds."""
    with EmbeddedStack(folder, only=usual(StackSettings())) as stack:
        for agent in AGENTS:  # the restore agent has set the markers by now
            stack.component(agent).stop()
        port = urlsplit(stack.urls.gateway).port or 80
        send(port, Plan(0, WARM_UP_S, CONNECTIONS, CARTS))
        capacity = send(port, Plan(0, min(CAPACITY_SECONDS, seconds), CONNECTIONS, CARTS))
        rate = capacity.accepted / capacity.seconds
        console.print(
            f"capacity: {rate:.0f}/s, p50 {capacity.accepted_p50_ms:.1f} ms, "
            f"p99 {capacity.accepted_p99_ms:.1f} ms, refused {capacity.refused}, other {capacity.other}"
        )
        memory = Memory(stack)
        before = memory.now()
        with memory.watched():
            load = send(port, Plan(2 * rate, seconds, OPEN_CONNECTIONS, CARTS, SLOW_READERS))
        time.sleep(CALM_S)
        rss = {"before": before, "most": memory.most, "after": memory.now()}
    _print(console, capacity, load, rss)
    return {
        "capacity": msgspec.to_builtins(capacity, str_keys=True),
        "twice": msgspec.to_builtins(load, str_keys=True),
        "rss": rss,
    }


def send(port: int, plan: Plan) -> Outcome:
    """Run a plan in a process of its own."""
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.open_loop", str(port)],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        timeout=plan.seconds + 120,
        check=True,
    )
    return msgspec.json.decode(finished.stdout, type=Outcome)


def _print(console: Console, capacity: Outcome, load: Outcome, rss: dict[str, int]) -> None:
    table = Table(title=f"one gateway, adds and reads, {SLOW_READERS} slow readers")
    for heading in (
        "",
        "sent /s",
        "accepted /s",
        "p50 ms",
        "p99 ms",
        "refused",
        "refused p99 ms",
        "timeouts",
    ):
        table.add_column(heading, justify="right")
    for name, outcome in (("at capacity", capacity), ("twice", load)):
        table.add_row(
            name,
            f"{outcome.sent / outcome.seconds:.0f}",
            f"{outcome.accepted / outcome.seconds:.0f}",
            f"{outcome.accepted_p50_ms:.1f}",
            f"{outcome.accepted_p99_ms:.1f}",
            str(sum(outcome.refused.values())),
            f"{outcome.refused_p99_ms:.1f}",
            str(outcome.timeouts),
        )
    console.print(table)
    console.print(
        f"accepted adds {load.accepted_by_kind['add']}, reads {load.accepted_by_kind['read']}; "
        f"without Retry-After {load.refused_without_retry_after}, other answers {load.other}, "
        f"broken connections {load.broken}"
    )
    sizes = ", ".join(f"{when} {size / _MIB:.0f} MiB" for when, size in rss.items())
    console.print(f"memory of the gateway: {sizes}; recovered after {load.recovered_s:.2f} s")
