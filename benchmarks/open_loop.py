"""Requests that come when they are due, answered or not: as shoppers come, who do not know of each other.

`python -m benchmarks.open_loop PORT` reads a `Plan` as JSON from stdin and prints an `Outcome`: the requests
come from a process of their own.
"""

import asyncio
import gc
import itertools
import re
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import quantiles
from typing import Any, Final, cast

import msgspec
import uvloop

from gateway.server.descriptors import room_for

_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_AGAIN: Final = re.compile(rb"\r\nretry-after: (\d+)", re.IGNORECASE)
_TICK_S: Final = 0.001
_TIMEOUT_S: Final = 10.0
_ACCEPTED: Final = frozenset({200, 201, 204})
_REFUSALS: Final = frozenset({429, 503})
_PROBES_S: Final = 5.0
_PROBES_PER_S: Final = 50
_SLOW_S: Final = 0.1
_PROBE: Final = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
_SIP_BYTES: Final = 64
_SIP_S: Final = 0.5


class Plan(msgspec.Struct, frozen=True):
    """`rate` requests a second, half of them reads, half adds; 0: as many as `connections` get answered."""

    rate: float
    seconds: float
    connections: int
    carts: int
    slow_readers: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What became of the requests; times in milliseconds, from when they were due."""

    seconds: float
    sent: int
    accepted: int
    accepted_p50_ms: float
    accepted_p99_ms: float
    refused: dict[int, int]
    """By status."""
    refused_p99_ms: float
    refused_without_retry_after: int
    other: dict[int, int]
    """Answers that are neither, by status."""
    timeouts: int
    broken: int
    """Connections that ended without an answer."""
    accepted_by_kind: dict[str, int]
    recovered_s: float
    """After the load, until the last request was refused or slow, of some that came one by one."""


class _Answered(msgspec.Struct):
    kind: str
    status: int
    due: float
    seconds: float
    has_retry_after: bool


class Client(asyncio.Protocol):
    """A connection that has one request at a time."""

    def __init__(self, load: "Load") -> None:
        self._load: Final = load
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._due = 0.0
        self._kind: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._load.is_free(self)

    def ask(self, kind: str, request: bytes, due: float) -> None:
        """Send a request."""
        self._kind, self._due = kind, due
        if self._transport is not None:
            self._transport.write(request)

    @property
    def waits_since(self) -> float | None:
        """When its request was due; None without one."""
        return None if self._kind is None else self._due

    def data_received(self, data: bytes) -> None:
        """Some of the answer."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._kind is None:
            return
        head = bytes(self._received[:end])
        found = _LENGTH.search(head)
        if len(self._received) < end + 4 + (int(found[1]) if found else 0):
            return
        self._received.clear()
        answered = _Answered(
            self._kind,
            int(head[9:12]),
            self._due,
            time.monotonic() - self._due,
            _AGAIN.search(head) is not None,
        )
        self._kind = None
        self._load.answered.append(answered)
        self._load.is_free(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Make it again."""
        self._load.lost(self)

    def abort(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.abort()


class Load:
    """The connections and what they are to ask."""

    def __init__(self, port: int, plan: Plan) -> None:
        self._port: Final = port
        self._plan: Final = plan
        self._free: Final[deque[Client]] = deque()
        self._clients: Final[set[Client]] = set()
        self._connecting: Final[set[asyncio.Task[Any]]] = set()
        self._is_sending = False
        self._is_over = False
        self._sent = 0
        self._timeouts = 0
        self._broken = 0
        self._requests = itertools.cycle(_requests(plan.carts))
        self._late: Final[deque[tuple[str, bytes, float]]] = deque()
        self.answered: Final[list[_Answered]] = []

    async def run(self) -> Outcome:
        """Send everything, and wait for what is under way."""
        for _ in range(self._plan.connections):
            await self._connect()
        await self._be_accepted()
        sippers = [asyncio.create_task(sip(self._port)) for _ in range(self._plan.slow_readers)]
        began = time.monotonic()
        if self._plan.rate:
            await self._open_loop(began, self._plan.rate, self._plan.seconds)
        else:
            await self._closed_loop(began)
        ended, sent = time.monotonic(), self._sent
        for task in sippers:
            task.cancel()
        if self._plan.rate:
            await self._open_loop(ended, _PROBES_PER_S, _PROBES_S)
        last = time.monotonic() + _TIMEOUT_S
        while (self._late or any(each.waits_since for each in self._clients)) and time.monotonic() < last:
            self._send_late()
            await asyncio.sleep(_TICK_S)
        self._is_over = True
        self._timeouts += len(self._late) + sum(each.waits_since is not None for each in self._clients)
        return self._outcome(sent, began, ended)

    def is_free(self, client: Client) -> None:
        """Its request was answered."""
        self._free.append(client)
        if self._is_sending:
            self._send(time.monotonic())

    def lost(self, client: Client) -> None:
        """Its connection is gone."""
        self._clients.discard(client)
        if client in self._free:
            self._free.remove(client)
        if client.waits_since is not None:
            self._broken += 1
        if not self._is_over:
            task = asyncio.create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self._port)
        self._clients.add(client)

    async def _be_accepted(self) -> None:
        """Wait until the gateway has taken the connections: beyond its backlog they wait for seconds."""
        for _ in range(len(self._free)):
            self._free.popleft().ask("probe", _PROBE, time.monotonic())
        while len(self._free) < self._plan.connections:  # noqa: ASYNC110  many tell it
            await asyncio.sleep(_TICK_S)
        self.answered.clear()

    async def _closed_loop(self, began: float) -> None:
        self._is_sending = True
        for _ in range(len(self._free)):
            self._send(time.monotonic())
        await asyncio.sleep(began + self._plan.seconds - time.monotonic())
        self._is_sending = False

    async def _open_loop(self, began: float, rate: float, seconds: float) -> None:
        due, swept = 0, began
        while (now := time.monotonic()) < began + seconds:
            self._send_late()
            while began + due / rate <= now:
                self._send(began + due / rate)
                due += 1
            if now > swept + 1:
                swept = now
                self._sweep(now)
            await asyncio.sleep(_TICK_S)

    def _send(self, due: float) -> None:
        kind, request = next(self._requests)
        self._sent += 1
        if self._free:
            self._free.popleft().ask(kind, request, due)
        else:
            self._late.append((kind, request, due))

    def _send_late(self) -> None:
        while self._late and self._free:
            self._free.popleft().ask(*self._late.popleft())

    def _sweep(self, now: float) -> None:
        for client in list(self._clients):
            since = client.waits_since
            if since is not None and since < now - _TIMEOUT_S:
                self._timeouts += 1
                self._broken -= 1
                client.abort()

    def _outcome(self, sent: int, began: float, ended: float) -> Outcome:
        answered = [each for each in self.answered if each.due < ended]
        accepted = [each for each in answered if each.status in _ACCEPTED]
        refused = [each for each in answered if each.status in _REFUSALS]
        others = [each for each in answered if each.status not in _ACCEPTED | _REFUSALS]
        p50, p99 = _ms(each.seconds for each in accepted)
        not_recovered = [
            each.due + each.seconds - ended
            for each in self.answered
            if each.due >= ended and (each.status not in _ACCEPTED or each.seconds > _SLOW_S)
        ]
        return Outcome(
            seconds=ended - began,
            sent=sent,
            accepted=len(accepted),
            accepted_p50_ms=p50,
            accepted_p99_ms=p99,
            refused=_counted(refused),
            refused_p99_ms=_ms(each.seconds for each in refused)[1],
            refused_without_retry_after=sum(not each.has_retry_after for each in refused),
            other=_counted(others),
            timeouts=self._timeouts,
            broken=self._broken,
            accepted_by_kind={kind: sum(each.kind == kind for each in accepted) for kind in ("add", "read")},
            recovered_s=max(not_recovered, default=0.0),
        )


async def sip(port: int) -> None:
    """Ask for much, and read next to nothing of it."""
    loop = asyncio.get_running_loop()
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    while True:
        with socket.socket() as end:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            end.setblocking(False)  # noqa: FBT003
            try:
                await loop.sock_connect(end, ("127.0.0.1", port))
                end.send(request * 10)
                while await loop.sock_recv(end, _SIP_BYTES):  # noqa: ASYNC110  it is slow on purpose
                    await asyncio.sleep(_SIP_S)
            except OSError:
                await asyncio.sleep(_SIP_S)


def _requests(carts: int) -> list[tuple[str, bytes]]:
    found = []
    for number in range(carts):
        path = b"/v1/carts/user:open-%d" % number
        body = b'{"product_id":"sku-%d","quantity":1,"unit_price":1999,"currency":"EUR"}' % (number % 5)
        found += [
            ("read", b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path),
            (
                "add",
                b"POST %b/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (path, len(body), body),
            ),
        ]
    return found


def _counted(answers: Iterable[_Answered]) -> dict[int, int]:
    found: dict[int, int] = {}
    for answer in answers:
        found[answer.status] = found.get(answer.status, 0) + 1
    return found


def _ms(seconds: Iterable[float]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds; 0 of nothing."""
    values: Sequence[float] = list(seconds)
    if len(values) < 2:  # noqa: PLR2004
        return (values[0] * 1e3, values[0] * 1e3) if values else (0.0, 0.0)
    cuts = quantiles(values, n=100)
    return cuts[49] * 1e3, cuts[98] * 1e3


if __name__ == "__main__":
    gc.disable()
    room_for(2000)
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    outcome = uvloop.run(Load(int(sys.argv[1]), plan).run())
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
