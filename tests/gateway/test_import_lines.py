"""The lines of a body that comes in pieces of any size."""

from collections.abc import AsyncIterator

import pytest

from gateway.products.importing import Line, lines_of


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


@pytest.mark.parametrize("piece", [1, 5, 100])
async def test_a_last_line_that_is_too_long_is_one(piece: int) -> None:
    assert await read(b"one\n123456789", piece) == [Line(1, b"one"), Line(2, None)]
