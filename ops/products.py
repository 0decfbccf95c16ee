"""The catalogue's bulk work: the sample, publishing all again, an import through the gateway, an export."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from carts.products import Product, ProductContent
from gateway.products.importing import LineError, Report, Stopped, Summary
from ops.progress import Advance, Bars
from ops.sample import sample_products
from store.postgres.products import products_after, put_all, record_again
from store.postgres.session import Address, connect

CHUNK_BYTES: Final = 64 * 1024
PUBLISHED_AT_ONCE: Final = 1000
SILENT_SECONDS: Final = 60.0
"""The gateway reports its progress at least once a second, as long as it receives lines."""


class ImportFailed(Exception):
    """Not all lines reached the catalogue; importing the file again is safe."""


_NAME: Final = "cartstream-products"
_REPORTS: Final = msgspec.json.Decoder(Report)


async def put_sample(address: Address) -> int:
    """Puts the sample into a catalogue that is empty; returns how many products that were.

    Raises psycopg's OperationalError.
    """
    async with (
        await connect(address, name=_NAME) as connection,
        connection.transaction(),
    ):
        found = await connection.execute("SELECT FROM products LIMIT 1")
        if found.rowcount:
            return 0
        return len(await put_all(connection, sample_products()))


async def publish_again(address: Address, bars: Bars) -> int:
    """Puts a record of every product into the outbox; returns how many. Raises OperationalError."""
    count, last = 0, ""
    async with await connect(address, name=_NAME) as connection:
        cursor = await connection.execute("SELECT count(*) FROM products")
        (total,) = await cursor.fetchone() or (0,)
        advance = bars("products", total)
        while True:
            async with connection.transaction():
                products = await record_again(connection, last, PUBLISHED_AT_ONCE)
            if not products:
                return count
            last = products[-1].product_id
            count += len(products)
            advance(len(products))


async def import_file(file: Path, gateway: str, bars: Bars) -> AsyncIterator[LineError | Summary]:
    """Sends a file of products, one JSON document a line: refused lines as they come, then the summary.

    Raises ImportFailed.
    """
    total = lines_in(file)
    advance = bars("lines", total)
    url = f"{gateway.rstrip('/')}/v1/products/import"
    timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENT_SECONDS)
    headers = {"content-type": "application/x-ndjson"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=_chunks(file), headers=headers) as reply,
        ):
            if reply.status != HTTPStatus.OK:
                raise ImportFailed(_refusal(reply.status, await reply.read()))
            async for report in _reports(reply.content, advance):
                yield report
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ImportFailed(
            f"the gateway at {url} did not take all of it: {error or 'no answer'}. Send the file again."
        ) from error


async def export(address: Address, bars: Bars, *, conditional: bool) -> AsyncIterator[bytes]:
    """Every product as a line of an import, by id, a page at a time; inactive ones too.

    `conditional`: with the version that it has, so that the line counts only while nobody has changed the
    product since. Raises OperationalError.
    """
    last = ""
    async with await connect(address, name=_NAME) as connection:
        cursor = await connection.execute("SELECT count(*) FROM products")
        (total,) = await cursor.fetchone() or (0,)
        advance = bars("products", total)
        while products := await products_after(connection, last, PUBLISHED_AT_ONCE):
            last = products[-1].product_id
            yield b"".join(_line_of(product, conditional=conditional) for product in products)
            advance(len(products))


def _line_of(product: Product, *, conditional: bool) -> bytes:
    fields = {name: getattr(product, name) for name in ProductContent.__struct_fields__}
    if conditional:
        fields["if_version"] = product.version
    return msgspec.json.encode(fields) + b"\n"


def lines_in(file: Path) -> int:
    """How many lines there are; the last one may be open."""
    lines, last = 0, b"\n"
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            lines, last = lines + chunk.count(b"\n"), chunk[-1:]
    return lines + (last != b"\n")


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as content:
        while chunk := await asyncio.to_thread(content.read, CHUNK_BYTES):
            yield chunk


async def _reports(lines: AsyncIterable[bytes], advance: Advance) -> AsyncIterator[LineError | Summary]:
    done = 0
    async for line in lines:
        report = _REPORTS.decode(line)
        match report:
            case LineError():
                yield report
            case Stopped():
                raise ImportFailed(
                    f"it stopped after line {report.lines}: {report.detail} Send the file again."
                )
            case _:
                advance(report.lines - done)
                done = report.lines
        if isinstance(report, Summary):
            yield report
            return
    raise ImportFailed("the gateway ended in the middle of it. Send the file again.")


def _refusal(status: int, body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the gateway answered {status}: {body[:200]!r}"
