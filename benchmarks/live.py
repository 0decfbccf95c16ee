"""Live carts: from a write acknowledged at one gateway to its event at another, and what a stream costs."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any, cast

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.servers import wait_until_it_answers
from devstack.components import usual
from devstack.embedded import EmbeddedStack
from devstack.free_ports import free_ports
from devstack.settings import StackSettings

STREAMS = 2000
WRITES_PER_S = 200
SECONDS = 20.0
WRITERS = 32
OPENED_AT_ONCE = 50
SETTLE_S = 3.0
MOST_P99_MS = 500
AGENTS = ("sink-redis", "sink-postgres", "compaction")


class Watched(asyncio.Protocol):
    """A client of one cart's stream. It notes when each version arrived, in seconds of the loop's clock."""

    def __init__(self, cart_id: str) -> None:
        self._cart_id = cart_id
        self._text = b""
        self.arrived: dict[int, float] = {}
        self.first = asyncio.Event()
        self.bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        request = f"GET /v1/carts/{self._cart_id}/stream HTTP/1.1\r\nhost: bench\r\n\r\n"
        cast("asyncio.Transport", transport).write(request.encode())

    def data_received(self, data: bytes) -> None:
        """Note the versions in it; the number before the first dash rises within a cart."""
        now = asyncio.get_running_loop().time()
        self.bytes += len(data)
        self._text += data
        *events, self._text = self._text.split(b"\n\n")
        for event in events:
            _, found, rest = event.partition(b"id: ")
            if found:
                self.arrived[int(rest.partition(b"-")[0])] = now
                self.first.set()

    def arrival(self, version: int) -> float | None:
        """When the client first had this version or a newer one."""
        return min((at for seen, at in self.arrived.items() if seen >= version), default=None)


class Write(msgspec.Struct, frozen=True):
    """A write that was acknowledged; times of the loop's clock."""

    cart_id: str
    version: int
    sent: float
    acknowledged: float


class Writer:
    """Adds at its part of the pace over a connection of its own."""

    def __init__(self, port: int, carts: list[str]) -> None:
        self._port = port
        self._carts = carts
        self.acknowledged: list[Write] = []
        self.refused = 0

    async def write(self, seconds: float, per_second: float) -> None:
        """Add to one cart after the other."""
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        began = loop.time()
        for number in range(round(seconds * per_second)):
            await asyncio.sleep(max(0.0, began + number / per_second - loop.time()))
            cart_id = self._carts[number % len(self._carts)]
            sent = loop.time()
            writer.write(_add(cart_id))
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            now = loop.time()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            await reader.readexactly(int(fields.get("content-length", "0")))
            if head.startswith("http/1.1 200"):
                version = int(fields["etag"].strip('"').partition("-")[0])
                self.acknowledged.append(Write(cart_id, version, sent, now))
            else:
                self.refused += 1
        writer.close()


def run(folder: Path, console: Console) -> dict[str, Any]:
    """2,000 streams at one gateway, 200 writes a second at another for 20 seconds."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with EmbeddedStack(folder, only=usual(StackSettings())) as stack:
        for agent in AGENTS:  # the restore agent has set the markers by now
            stack.component(agent).stop()
        with _gateway(stack) as (process, port):
            figures = asyncio.run(_measure(stack.settings.gateway_port, process, port))
    _print(console, figures)
    return figures


@contextmanager
def _gateway(stack: EmbeddedStack) -> Iterator[tuple[psutil.Process, int]]:
    """A second gateway on the stack's servers: its process and its port."""
    (port,) = free_ports(1)
    environment = {**os.environ, **stack.urls.environment(), "CARTSTREAM_GATEWAY_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.main"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/health/live", process)
        yield psutil.Process(process.pid), port
    finally:
        process.terminate()
        process.wait(timeout=60)


async def _measure(write_port: int, process: psutil.Process, stream_port: int) -> dict[str, Any]:
    carts = [f"user:live-{number}" for number in range(STREAMS)]
    await Writer(write_port, carts).write(STREAMS / 1000, 1000)  # each has a line, and both gateways are warm
    before = process.memory_info().rss
    async with _watching(stream_port, carts) as watched:
        await asyncio.sleep(SETTLE_S)
        per_stream = (process.memory_info().rss - before) / STREAMS
        bytes_before = sum(one.bytes for one in watched.values())
        cpu_before = sum(process.cpu_times()[:2])
        began = time.monotonic()
        writers = [Writer(write_port, carts[number::WRITERS]) for number in range(WRITERS)]
        await asyncio.gather(*(writer.write(SECONDS, WRITES_PER_S / WRITERS) for writer in writers))
        seconds = time.monotonic() - began
        await asyncio.sleep(SETTLE_S)
        cpu = sum(process.cpu_times()[:2]) - cpu_before
        received = sum(one.bytes for one in watched.values()) - bytes_before
        peak = (process.memory_info().rss - before) / STREAMS
        return {
            "streams": STREAMS,
            "writes": sum(len(writer.acknowledged) for writer in writers),
            "refused": sum(writer.refused for writer in writers),
            "writes_per_s": sum(len(writer.acknowledged) for writer in writers) / seconds,
            **_latencies(writers, watched),
            "bytes_per_event": received / max(1, sum(len(one.arrived) - 1 for one in watched.values())),
            "memory_bytes_per_stream": per_stream,
            "memory_bytes_per_stream_after": peak,
            "cpu_share": cpu / (seconds + SETTLE_S),
        }


@asynccontextmanager
async def _watching(port: int, carts: list[str]) -> AsyncIterator[dict[str, Watched]]:
    """Streams of all carts, each of which has had its first event."""
    loop = asyncio.get_running_loop()
    watched: dict[str, Watched] = {}
    transports = []
    for start in range(0, len(carts), OPENED_AT_ONCE):
        for cart_id in carts[start : start + OPENED_AT_ONCE]:
            transport, one = await loop.create_connection(partial(Watched, cart_id), "127.0.0.1", port)
            watched[cart_id] = one
            transports.append(transport)
        await asyncio.gather(*(one.first.wait() for one in watched.values()))
    yield watched
    for transport in transports:
        transport.abort()


def _latencies(writers: list[Writer], watched: dict[str, Watched]) -> dict[str, Any]:
    """Milliseconds from request and from reply to event; an event that came before the reply took none."""
    writes = [write for writer in writers for write in writer.acknowledged]
    arrivals = [(write, watched[write.cart_id].arrival(write.version)) for write in writes]
    waits = [max(0.0, at - write.acknowledged) * 1000 for write, at in arrivals if at is not None]
    whole = [(at - write.sent) * 1000 for write, at in arrivals if at is not None]
    cuts, whole_cuts = quantiles(waits, n=100), quantiles(whole, n=100)
    return {
        "missed": len(writes) - len(waits),
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "slowest_ms": max(waits),
        "sent_p50_ms": whole_cuts[49],
        "sent_p99_ms": whole_cuts[98],
        "before_reply": waits.count(0.0) / len(waits),
    }


def _add(cart_id: str) -> bytes:
    body = b'{"product_id":"sku-1","quantity":1,"unit_price":1999,"currency":"EUR"}'
    head = (
        f"POST /v1/carts/{cart_id}/items HTTP/1.1\r\nhost: bench\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _print(console: Console, figures: dict[str, Any]) -> None:
    table = Table(title=f"live carts: {STREAMS} streams, {WRITES_PER_S} writes/s for {SECONDS:g} s")
    for heading in ("", "figure"):
        table.add_column(heading, justify="right")
    for name, value in (
        ("writes acknowledged, refused", f"{figures['writes']}, {figures['refused']}"),
        ("writes without an event", f"{figures['missed']}"),
        ("acknowledged to event, p50", f"{figures['p50_ms']:.1f} ms"),
        (f"p99 (at most {MOST_P99_MS} ms)", f"{figures['p99_ms']:.1f} ms"),
        ("slowest", f"{figures['slowest_ms']:.1f} ms"),
        ("events that came before the reply", f"{figures['before_reply']:.0%}"),
        ("sent to event, p50", f"{figures['sent_p50_ms']:.1f} ms"),
        ("sent to event, p99", f"{figures['sent_p99_ms']:.1f} ms"),
        ("bytes of an event", f"{figures['bytes_per_event']:.0f}"),
        ("memory of a stream", f"{figures['memory_bytes_per_stream'] / 1024:.1f} KiB"),
        ("after the writes", f"{figures['memory_bytes_per_stream_after'] / 1024:.1f} KiB"),
        ("CPU of the gateway with the streams", f"{figures['cpu_share']:.0%}"),
    ):
        table.add_row(name, value)
    console.print(table)
