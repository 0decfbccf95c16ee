"""Import products from a stream of lines, and reply with a stream of lines, in bounded memory."""

import asyncio
import time
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from gateway.http.problems import FieldError, Problem
from gateway.products.requests import ImportProduct, check_lines, check_version, error_of, sent_line
from gateway.products.service import ProductWriter
from gateway.server.refusals import Refused

BATCH_LINES: Final = 200
"""Making and reading their statements holds up the event loop."""
BATCH_BYTES: Final = 1024 * 1024
LINE_BYTES: Final = 256 * 1024
"""A product within its limits is shorter, even if every character is escaped."""
PROGRESS_S: Final = 1.0
OVERLOAD_PAUSE_S: Final = 0.4
"""After each batch, while requests are turned away."""
TURN_S: Final = 0.002
"""How long an import works before it rests."""
REST_S: Final = 0.001
"""A request needs many turns of the event loop, not one. A longer rest costs imports much of their rate."""
ERRORS_LISTED: Final = 1000
"""More are only counted: a client that sends everything before it reads must not be blocked by replies."""


class LineError(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """A line that was not imported: its number from 1, where it is wrong, and how to correct it."""

    line: int
    pointer: str
    detail: str


class Progress(msgspec.Struct, frozen=True, tag_field="type", tag="progress"):
    """How far the import is: lines read, products imported, lines with errors."""

    lines: int
    imported: int
    errors: int


class Summary(msgspec.Struct, frozen=True, tag_field="type", tag="summary"):
    """The end: products imported, how many of them are new or changed, lines with errors, seconds."""

    lines: int
    imported: int
    changed: int
    errors: int
    seconds: float


class Stopped(msgspec.Struct, frozen=True, tag_field="type", tag="stopped"):
    """The import ended early: the products of the first `lines` lines are kept. Repeating it is safe."""

    lines: int
    imported: int
    detail: str


Report = LineError | Progress | Summary | Stopped


class Line(msgspec.Struct, frozen=True):
    """A line of the body and its number from 1; `text` is None for a line that is too long."""

    number: int
    text: bytes | None


async def lines_of(body: AsyncIterator[bytes], bound: int = LINE_BYTES) -> AsyncIterator[Line]:
    """The lines of a body that comes in chunks, without blank ones. Holds one chunk and one line."""
    number, kept, too_long = 1, bytearray(), False
    turn_over = time.monotonic() + TURN_S
    async for chunk in body:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            too_long = too_long or len(kept) + end - start > bound
            text = None if too_long else bytes(kept) + chunk[start:end]
            if text is None or text.strip():
                yield Line(number, text)
            number, start = number + 1, end + 1
            kept.clear()
            too_long = False
            if time.monotonic() > turn_over:
                await asyncio.sleep(REST_S)
                turn_over = time.monotonic() + TURN_S
        if not too_long:
            kept += chunk[start : start + bound + 1]
            too_long = len(kept) > bound
    if too_long or kept.strip():
        yield Line(number, None if too_long else bytes(kept))


class Import:
    """One import. `run` reads lines and yields reports."""

    def __init__(
        self, writer: ProductWriter, charge: Callable[[int], float], requests_queue: Callable[[], bool]
    ) -> None:
        """`charge` is told of written products, and tells how many seconds to wait for that.

        While `requests_queue` the import waits, too: all others come first.
        """
        self._writer = writer
        self._charge = charge
        self._requests_queue = requests_queue
        self._batch: list[tuple[int, ImportProduct]] = []
        self._began = False
        self._bytes = 0
        self._lines = 0
        self._imported = 0
        self._changed = 0
        self._errors = 0
        self._early_s = 0.0
        self._refused: Refused | None = None

    async def run(self, body: AsyncIterator[bytes]) -> AsyncIterator[Report]:
        """Import all lines, holding a batch. Raises Problem only before the first is imported."""
        began = reported = time.monotonic()
        async for line in self._until_refused(body):
            self._lines = line.number
            error = self._add(line)
            if error is not None and self._errors <= ERRORS_LISTED:
                yield error
            if len(self._batch) < BATCH_LINES and self._bytes < BATCH_BYTES:
                continue
            async for report in self._flush():
                yield report
                if isinstance(report, Stopped):
                    return
            async for report in self._pause():
                yield report
            if time.monotonic() - reported > PROGRESS_S:
                reported = time.monotonic()
                yield Progress(self._lines, self._imported, self._errors)
        async for report in self._flush():
            yield report
            if isinstance(report, Stopped):
                return
        yield self._end(round(time.monotonic() - began, 3))

    async def _until_refused(self, body: AsyncIterator[bytes]) -> AsyncIterator[Line]:
        """The lines that came before the server refused the rest. Raises it if nothing has been told yet."""
        try:
            async for line in lines_of(body):
                yield line
        except Refused as refused:
            if not self._imported and not self._errors:
                raise
            self._refused = refused

    def _end(self, seconds: float) -> Summary | Stopped:
        if self._refused is not None:
            return Stopped(self._lines, self._imported, self._refused.detail)
        return Summary(self._lines, self._imported, self._changed, self._errors, seconds)

    def _add(self, line: Line) -> LineError | None:
        if line.text is None:
            detail = f"is longer than {LINE_BYTES} bytes; send one product in each line"
            return self._wrong(line.number, FieldError("", detail))
        # Some systems begin files with a byte order mark, and a reader may ignore it (RFC 8259, 8.1).
        text = line.text.removeprefix(BOM_UTF8) if line.number == 1 else line.text
        if not text.strip():
            return None
        if not self._began:
            check_lines(text)
            self._began = True
        try:
            sent = sent_line(text)
            check_version(sent.version, required=not self._writer.gives_versions)
        except Problem as problem:
            return self._wrong(line.number, error_of(problem))
        self._batch.append((line.number, sent))
        self._bytes += len(line.text)
        return None

    async def _flush(self) -> AsyncIterator[Report]:
        if not self._batch:
            return
        batch, self._batch, self._bytes = self._batch, [], 0
        try:
            written = await self._writer.put_many([sent for _, sent in batch])
        except Problem as problem:
            if not self._imported and not self._errors:
                raise
            yield Stopped(batch[0][0] - 1, self._imported, problem.detail)
            return
        self._imported += len(batch) - len(written.errors)
        self._changed += written.changed
        for index, error in sorted(written.errors.items()):
            report = self._wrong(batch[index][0], error)
            if self._errors <= ERRORS_LISTED:
                yield report
        self._early_s = self._charge(len(batch))
        if self._requests_queue():
            self._early_s = max(self._early_s, OVERLOAD_PAUSE_S)

    async def _pause(self) -> AsyncIterator[Report]:
        """Wait where more products came than may come by now, and tell that it goes on."""
        while self._early_s > 0:
            pause_s = min(self._early_s, PROGRESS_S)
            await asyncio.sleep(pause_s)
            self._early_s -= pause_s
            yield Progress(self._lines, self._imported, self._errors)

    def _wrong(self, number: int, error: FieldError) -> LineError:
        self._errors += 1
        return LineError(number, error.pointer, error.detail)
