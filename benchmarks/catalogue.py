"""An import of 100,000 products through every step, and a cache that is lost: rates and memory."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
import psycopg
import redis
from rich.console import Console
from rich.table import Table

from benchmarks.goods import goods
from benchmarks.servers import rss_bytes
from devstack.embedded import EmbeddedStack
from devstack.free_ports import free_ports
from devstack.settings import KAFKA, PORTS, POSTGRES, REDIS, StackSettings
from runtime.owners import OrdersOwner, ProductsOwner
from runtime.settings import load

PRODUCTS = 100_000
PROCESSES = ("gateway", "jobs", "sink-redis")
COMPONENTS = (REDIS, POSTGRES, KAFKA, "topics", "migrate", *PROCESSES)
WITHIN_S = 600.0
SEARCHES = ("shirt", "red linen shirt", "blue ce", "present", "nothing of the kind")
SEARCHED = 50
"""Times each search is asked for."""


def run(folder: Path, console: Console) -> dict[str, Any]:
    """Import, import the same again, search, FLUSHALL and wait until the cache is complete again."""
    settings = load(StackSettings).with_ports(*free_ports(len(PORTS)))
    settings = settings.model_copy(
        update={"products_owner": ProductsOwner.INTERNAL, "orders_owner": OrdersOwner.INTERNAL}
    )
    lines = [msgspec.json.encode(product) + b"\n" for product in goods(PRODUCTS)]
    with EmbeddedStack(folder, settings, only=COMPONENTS) as stack, Memory(stack) as memory:
        server = redis.Redis.from_url(stack.urls.redis)
        empty = _used_memory(server)
        began = time.perf_counter()
        summary = _import(stack, lines, console)
        _until_shown(server, PRODUCTS)
        figures: dict[str, Any] = {
            "products": PRODUCTS,
            "megabytes": sum(map(len, lines)) / 1e6,
            "import_per_s": PRODUCTS / summary["seconds"],
            "shown_per_s": PRODUCTS / (time.perf_counter() - began),
            "redis_bytes_each": (_used_memory(server) - empty) / PRODUCTS,
        }
        _until_relayed(stack)
        again = _import(stack, lines, console)
        assert again["changed"] == 0, again
        figures["again_per_s"] = PRODUCTS / again["seconds"]
        figures["search_ms"] = _search(stack)
        server.flushall()
        began = time.perf_counter()
        _until_shown(server, PRODUCTS)
        figures["refill_per_s"] = PRODUCTS / (time.perf_counter() - began)
        figures["rss_megabytes"] = memory.megabytes()
    _print(console, figures)
    return figures


class Memory:
    """Watches how much memory the processes take: when it was entered, and the most since."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._first = rss_bytes(stack, PROCESSES)
        self._most = dict(self._first)

    def megabytes(self) -> dict[str, tuple[float, float]]:
        """By process: at the beginning, and at most."""
        return {name: (self._first[name] / 1e6, self._most[name] / 1e6) for name in PROCESSES}

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            for name, size in rss_bytes(self._stack, PROCESSES).items():
                self._most[name] = max(self._most[name], size)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _import(stack: EmbeddedStack, lines: list[bytes], console: Console) -> dict[str, Any]:
    """The summary that the gateway gives of an import, which is one request."""

    def body() -> Iterator[bytes]:
        for start in range(0, len(lines), 1000):
            yield b"".join(lines[start : start + 1000])
            if start % 20_000 == 0:
                console.print(f"sent {start} of {len(lines)} products")

    answer = httpx.post(
        f"{stack.urls.gateway}/v1/products/import",
        content=body(),
        headers={"content-type": "application/x-ndjson"},
        timeout=WITHIN_S,
    )
    answer.raise_for_status()
    summary: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
    assert summary["type"] == "summary", summary
    assert summary["errors"] == 0, answer.text.splitlines()[0]
    return summary


def _until_shown(server: "redis.Redis", count: int) -> None:
    """Wait until the cache is complete and has so many products."""
    deadline = time.monotonic() + WITHIN_S
    while not (
        server.hexists("{catalogue}:facts", "!complete") and server.hlen("{catalogue}:documents") > count
    ):
        assert time.monotonic() < deadline, "the cache does not show all products"
        time.sleep(0.05)


def _until_relayed(stack: EmbeddedStack) -> None:
    """Wait until the outbox in Postgres is empty."""
    with psycopg.connect(stack.urls.postgres, autocommit=True) as connection:
        while connection.execute("SELECT FROM outbox LIMIT 1").fetchone() is not None:
            time.sleep(0.05)


def _search(stack: EmbeddedStack) -> dict[str, float]:
    """Milliseconds of the first page, over HTTP, one request at a time."""
    found = {}
    with httpx.Client(base_url=stack.urls.gateway, timeout=WITHIN_S) as client:
        for query in ("", *SEARCHES):
            began = time.perf_counter()
            for _ in range(SEARCHED):
                client.get("/v1/products", params={"q": query} if query else {}).raise_for_status()
            found[query] = (time.perf_counter() - began) / SEARCHED * 1000
    return found


def _used_memory(server: "redis.Redis") -> int:
    facts: Any = server.info("memory")
    return int(facts["used_memory"])


def _print(console: Console, figures: dict[str, Any]) -> None:
    table = Table(title=f"{PRODUCTS} products, {figures['megabytes']:.0f} MB of lines")
    for heading in ("what", "figure"):
        table.add_column(heading)
    rows = {
        "import (gateway to Postgres)": f"{figures['import_per_s']:.0f}/s",
        "import until shown by the cache": f"{figures['shown_per_s']:.0f}/s",
        "the same import again (nothing changes)": f"{figures['again_per_s']:.0f}/s",
        "FLUSHALL until the cache is complete": f"{figures['refill_per_s']:.0f}/s",
        "Redis memory of a product": f"{figures['redis_bytes_each']:.0f} bytes",
    }
    rows |= {
        f"memory of {name}": f"{first:.0f} MB before, {most:.0f} MB at most"
        for name, (first, most) in figures["rss_megabytes"].items()
    }
    rows |= {
        f"first page, q={query!r}" if query else "first page": f"{milliseconds:.1f} ms"
        for query, milliseconds in figures["search_ms"].items()
    }
    for what, figure in rows.items():
        table.add_row(what, figure)
    console.print(table)
