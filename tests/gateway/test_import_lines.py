"""Imports without a server: lines of a body that comes in pieces of any size, and what is told meanwhile."""

import asyncio
import json
import math
import time
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from msgspec.structs import replace

from carts.products import PRODUCT_LIMITS, Product, ProductContent
from gateway.http.conditions import Preconditions
from gateway.http.problems import DATABASE_UNAVAILABLE, Problem
from gateway.products import importing
from gateway.products.importing import LINE_BYTES, Import, Line, Progress, Stopped, Summary, lines_of
from gateway.products.requests import ImportProduct, PatchProduct, SentProduct, imported, sent_line
from gateway.products.service import BatchResult, WriteResult


def free(_: int) -> float:
    """Nobody limits how many products come."""
    return 0.0


def never() -> bool:
    """No requests queue."""
    return False


async def read(body: bytes, piece: int, bound: int = 8) -> list[Line]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    return [line async for line in lines_of(pieces(), bound)]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100])
async def test_lines_do_not_depend_on_how_the_body_is_cut(piece: int) -> None:
    found = await read(b"one\n\r\n\ntwo\r\n123456789\n12345678\nlast", piece)
    assert found == [
        Line(1, b"one"),
        Line(4, b"two\r"),
        Line(5, None),
        Line(6, b"12345678"),
        Line(7, b"last"),
    ]


@pytest.mark.parametrize("line", [b"\n", b'{"product_id":1}\n'], ids=["blank", "no product"])
async def test_a_flood_of_lines_rests_again_and_again(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    now, rests = 0.0, []

    def monotonic() -> float:
        nonlocal now
        now += importing.TURN_S / 100
        return now

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(time, "monotonic", monotonic)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    async for _ in Import(Writer(), free, never).run(body_of(line * 100_000)):
        pass
    assert len(rests) > 900
    assert set(rests) == {importing.REST_S}


async def body_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("piece", [1, 5, 100])
async def test_a_last_line_that_is_too_long_is_one(piece: int) -> None:
    assert await read(b"one\n123456789", piece) == [Line(1, b"one"), Line(2, None)]


class Writer:
    """Takes every batch, until it is told to fail."""

    gives_versions = True

    def __init__(self, batches: int = 1000) -> None:
        self.left = batches
        self.largest = 0

    async def put(self, sent: SentProduct, preconditions: Preconditions) -> WriteResult:
        """No import asks for it."""
        raise NotImplementedError

    async def patch(self, product_id: str, patch: PatchProduct, preconditions: Preconditions) -> WriteResult:
        """No import asks for it."""
        raise NotImplementedError

    async def put_many(self, batch: Sequence[ImportProduct]) -> BatchResult:
        """Take it."""
        if not self.left:
            raise Problem(DATABASE_UNAVAILABLE, "The database did not answer.")
        self.left -= 1
        self.largest = max(self.largest, len(batch))
        return BatchResult(len(batch))


async def body(lines: int) -> AsyncIterator[bytes]:
    for number in range(lines):
        yield b'{"product_id":"sku-%d","name":"Cup","unit_price":1,"currency":"EUR"}\n' % number


async def test_progress_is_told_while_lines_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "PROGRESS_S", -1.0)
    writer = Writer()
    *told, summary = [report async for report in Import(writer, free, never).run(body(450))]
    assert told == [Progress(200, 200, 0), Progress(400, 400, 0)]
    assert isinstance(summary, Summary)
    assert (summary.lines, summary.imported, summary.changed, summary.errors) == (450, 450, 450, 0)
    assert writer.largest == 200


async def test_a_mark_of_utf_8_at_the_beginning_is_no_part_of_the_first_line() -> None:
    async def marked() -> AsyncIterator[bytes]:
        yield BOM_UTF8
        async for piece in body(2):
            yield piece

    (summary,) = [report async for report in Import(Writer(), free, never).run(marked())]
    assert isinstance(summary, Summary)
    assert (summary.imported, summary.errors) == (2, 0)


@pytest.mark.parametrize("letter", ["\x01", "茶", "\U0001f375"])
def test_the_largest_product_is_a_line_however_it_is_written(letter: str) -> None:
    limits = PRODUCT_LIMITS
    bytes_each = len(msgspec.json.encode(letter)) - 2
    attributes = {"a": letter * ((limits.attributes_bytes - 8) // bytes_each)}
    product = {
        "product_id": "p" * 64,
        "name": "茶" * limits.name,
        "description": letter * limits.description,
        "unit_price": 1,
        "currency": "EUR",
        "image_url": "/" + "x" * (limits.image_url - 1),
        "attributes": attributes,
    }
    line = json.dumps(product).encode()
    assert imported(sent_line(line), None, None).attributes == attributes
    assert len(line) <= LINE_BYTES


async def test_an_import_that_cannot_go_on_says_what_is_kept() -> None:
    *_, last = [report async for report in Import(Writer(batches=2), free, never).run(body(450))]
    assert last == Stopped(400, 400, "The database did not answer.")


async def test_an_import_that_cannot_begin_is_a_problem() -> None:
    with pytest.raises(Problem, match="did not answer"):
        [report async for report in Import(Writer(batches=0), free, never).run(body(450))]


MUG = Product(
    product_id="mug",
    name="Mug",
    unit_price=1450,
    currency="EUR",
    description="It holds tea.",
    category="kitchen",
    stock=5,
    active=False,
    attributes={"glaze": "blue"},
    version=7,
    updated_at=datetime(2026, 11, 28, tzinfo=UTC),
)


def line(**fields: object) -> ImportProduct:
    return sent_line(json.dumps({"product_id": "mug", **fields}).encode())


@pytest.mark.parametrize(
    "fields", [{"unit_price": 1600}, {"stock": 9}, {"stock": None}, {"category": None, "name": "Cup"}]
)
def test_a_line_changes_what_it_names_and_keeps_the_rest(fields: dict[str, object]) -> None:
    before = {name: getattr(MUG, name) for name in ProductContent.__struct_fields__}
    assert imported(line(**fields), MUG, None) == ProductContent(**before | fields)


def test_a_stock_may_be_changed_by_so_many_pieces() -> None:
    first = imported(line(stock_change=7), MUG, None)
    assert first.stock == 12
    assert imported(line(stock_change=-2), MUG, first).stock == 10


def test_a_line_counts_only_while_the_product_is_as_it_was_exported() -> None:
    assert imported(line(stock=9, if_version=7), MUG, None).stock == 9
    assert imported(line(name="Mug", unit_price=1, currency="EUR", if_version=0), None, None).stock is None


@pytest.mark.parametrize(
    ("fields", "known", "pointer"),
    [
        ({"stock": 9, "if_version": 6}, MUG, "/if_version"),
        ({"stock": 9, "if_version": 0}, MUG, "/if_version"),
        ({"stock": 9, "if_version": 7}, None, "/if_version"),
        ({"unit_price": 1}, None, "/name"),
        ({"name": "Mug", "currency": "EUR"}, None, "/unit_price"),
        ({"stock_change": -6}, MUG, "/stock"),
        ({"stock_change": 1}, replace(MUG, stock=None), "/stock_change"),
    ],
)
def test_a_line_that_does_not_fit_its_product_is_refused(
    fields: dict[str, object], known: Product | None, pointer: str
) -> None:
    with pytest.raises(Problem) as caught:
        imported(line(**fields), known, None)
    assert [error.pointer for error in caught.value.errors] == [pointer]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [({}, ""), ({"if_version": 7}, ""), ({"stock": 1, "stock_change": 1}, "/stock_change")],
)
def test_a_line_that_says_nothing_or_too_much_is_refused(fields: dict[str, object], pointer: str) -> None:
    with pytest.raises(Problem) as caught:
        line(**fields)
    assert [error.pointer for error in caught.value.errors] == [pointer]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"product_id,name,unit_price\nmug,Mug,1450\n", "CSV"),
        (b"\n  \n'sku';'name'\n", "CSV"),
        (b'[{"product_id": "mug", "unit_price": 1}]', r"jq -c '\.\[\]'"),
        (b'[\n  {"product_id": "mug", "unit_price": 1},\n', r"jq -c '\.\[\]'"),
        (b'{"products": [{"product_id": "mug", "unit_price": 1}]}', r"jq -c '\.products\[\]'"),
        (b'{"products": [\n', r"jq -c '\.products\[\]'"),
        (b'{\n  "product_id": "mug",\n', r"jq -c \."),
    ],
)
async def test_a_file_of_another_form_is_told_how_to_become_lines(content: bytes, what: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    with pytest.raises(Problem, match=what):
        [report async for report in Import(Writer(), free, never).run(pieces())]


async def test_an_import_that_is_ahead_of_its_quota_waits_and_tells_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importing, "PROGRESS_S", 0.001)
    charged: list[int] = []

    def charge(products: int) -> float:
        charged.append(products)
        return 0.003

    *told, summary = [report async for report in Import(Writer(), charge, never).run(body(450))]
    assert charged == [200, 200, 50]
    assert [report.lines for report in told if isinstance(report, Progress)].count(200) >= 3
    assert isinstance(summary, Summary)
    assert summary.imported == 450


async def test_while_requests_queue_an_import_waits_after_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(importing, "PROGRESS_S", math.inf)  # nothing is told for the time that it takes
    queues = iter((True, True, False))
    *told, summary = [report async for report in Import(Writer(), free, lambda: next(queues)).run(body(450))]
    assert [seconds for seconds in slept if seconds != importing.REST_S] == [importing.OVERLOAD_PAUSE_S] * 2
    assert told == [Progress(200, 200, 0), Progress(400, 400, 0)]
    assert isinstance(summary, Summary)
    assert summary.imported == 450
