"""A client of streams: what a browser's EventSource would get, one event at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from tests.support.waiting import PATIENCE_S


class Event(msgspec.Struct, frozen=True):
    """An event as it arrived."""

    kind: str
    id: str | None
    data: Any


class StreamReader:
    """An open stream: every event so far, how many heartbeats, and each `retry` in milliseconds."""

    def __init__(self, reply: httpx.Response) -> None:
        self.reply = reply
        self.seen: list[Event] = []
        self.comments = 0
        self.retries: list[int] = []
        self._lines = reply.aiter_lines()
        self._fields: dict[str, str] = {}

    async def next(self) -> Event:
        """The next event."""
        count = len(self.seen)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.seen) == count:
                assert await self._read_line(), "the stream has ended"
        return self.seen[-1]

    async def until(self, quantity: int) -> list[Event]:
        """Read until the cart has this many pieces; all events on the way."""
        start = len(self.seen)
        while sum(line["quantity"] for line in (await self.next()).data.get("lines", [])) != quantity:
            pass
        return self.seen[start:]

    async def until_kind(self, kind: str) -> Event:
        """The next event of this name; others are skipped."""
        while (found := await self.next()).kind != kind:
            pass
        return found

    async def heartbeat(self) -> None:
        """Returns after the next heartbeat."""
        count = self.comments
        async with asyncio.timeout(PATIENCE_S):
            while self.comments == count:
                assert await self._read_line(), "the stream has ended"

    async def end(self) -> None:
        """Returns when the server has ended the stream, as it should."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._read_line():
                pass

    async def _read_line(self) -> bool:
        try:
            line = await anext(self._lines)
        except StopAsyncIteration:
            return False
        name, _, value = line.partition(":")
        if line.startswith(":"):
            self.comments += 1
        elif name == "retry":
            self.retries.append(int(value))
        elif line:
            assert name not in self._fields
            self._fields[name] = value.removeprefix(" ")
        elif self._fields:
            fields, self._fields = self._fields, {}
            self.seen.append(Event(fields["event"], fields.get("id"), msgspec.json.decode(fields["data"])))
        return True


@asynccontextmanager
async def stream_of(
    http: httpx.AsyncClient, cart_id: str, query: str = "", **headers: str
) -> AsyncIterator[StreamReader]:
    """A stream of the cart; headers by name with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.stream("GET", f"/v1/carts/{cart_id}/stream{query}", headers=named) as reply:
        assert reply.status_code == 200, await reply.aread()
        yield StreamReader(reply)
