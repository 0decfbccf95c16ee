"""`cartstream products`: the catalogue's sample, and imports from a file."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import psycopg

from devstack.settings import StackSettings
from ops.progress import Advance, Bars, bars
from ops.sample import sample_products
from runtime.owners import OwnerSettings, ProductsOwner
from runtime.settings import load
from store.postgres.products import put_all, record_again
from store.postgres.settings import PostgresSettings

PIECE_BYTES: Final = 64 * 1024
PUBLISHED_AT_ONCE: Final = 1000
SILENT_SECONDS: Final = 60.0
"""The gateway says at least once a second how far it is, as long as it gets lines."""


@click.group("products")
def command() -> None:
    """Fill the catalogue."""


@command.command("sample")
def sample() -> None:
    """Put two dozen products into Postgres (CARTSTREAM_POSTGRES_URL), unless there are some already."""
    owner = load(OwnerSettings).products_owner
    if owner is not ProductsOwner.INTERNAL:
        click.echo(f"nothing to do: products are not kept here (CARTSTREAM_PRODUCTS_OWNER is {owner})")
        return
    try:
        count = asyncio.run(_put_sample(load(PostgresSettings).postgres_url.get_secret_value()))
    except psycopg.OperationalError as error:
        raise click.ClickException(f"Postgres did not take it: {error} Try again.") from error
    click.echo(f"{count} products put" if count else "nothing to do: there are products already")


async def _put_sample(postgres_url: str) -> int:
    async with (
        await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection,
        connection.transaction(),
    ):
        found = await connection.execute("SELECT FROM products LIMIT 1")
        if found.rowcount:
            return 0
        return len(await put_all(connection, sample_products()))


@command.command("publish")
def publish() -> None:
    """Send every product of Postgres to Kafka again, by the outbox: for a topic that was lost.

    Products may change meanwhile, and doing it again does no harm.
    """
    owner = load(OwnerSettings).products_owner
    if owner is not ProductsOwner.INTERNAL:
        raise click.ClickException(
            f"products are not kept here (CARTSTREAM_PRODUCTS_OWNER is {owner}): their owner has to send them"
        )
    try:
        with bars() as bar:
            count = asyncio.run(_publish(load(PostgresSettings).postgres_url.get_secret_value(), bar))
    except psycopg.OperationalError as error:
        raise click.ClickException(f"Postgres did not take it: {error} Try again.") from error
    click.echo(f"{count} products are on their way (`cartstream jobs` carries them)")


async def _publish(postgres_url: str, bar: Bars) -> int:
    count, last = 0, ""
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        cursor = await connection.execute("SELECT count(*) FROM products")
        (total,) = await cursor.fetchone() or (0,)
        advance = bar("products", total)
        while True:
            async with connection.transaction():
                products = await record_again(connection, last, PUBLISHED_AT_ONCE)
            if not products:
                return count
            last = products[-1].product_id
            count += len(products)
            advance(len(products))


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", help="The gateway; without it the one of the stack here [http://127.0.0.1:8000].")
def import_(file: Path, url: str | None) -> None:
    """Send FILE, a product as JSON a line, to the gateway. Lines with errors are named, the others kept.

    Sending it again does no harm. Ends with 1 if there was an error.
    """
    gateway = (url or load(StackSettings).urls.gateway).rstrip("/")
    with file.open("rb") as lines:
        total = sum(piece.count(b"\n") for piece in iter(lambda: lines.read(PIECE_BYTES), b""))
    with bars() as bar:
        asyncio.run(_send(file, f"{gateway}/v1/products/import", bar("lines", total)))


async def _send(file: Path, url: str, advance: Advance) -> None:
    # Only here: the import takes a moment that other commands need not spend.
    import aiohttp  # noqa: PLC0415

    timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=_pieces(file), headers={"content-type": "application/x-ndjson"}) as reply,
        ):
            if reply.status != 200:
                raise click.ClickException(_refusal(reply.status, await reply.read()))
            await _tell(reply.content, advance)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise click.ClickException(
            f"the gateway at {url} did not take all of it: {error or 'no answer'}. Send the file again."
        ) from error


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as content:
        while piece := await asyncio.to_thread(content.read, PIECE_BYTES):
            yield piece


async def _tell(reports: AsyncIterable[bytes], advance: Advance) -> None:
    """Show what the gateway says; raises ClickException unless all lines were taken."""
    done = 0
    async for line in reports:
        report: dict[str, Any] = msgspec.json.decode(line)
        match report["type"]:
            case "error":
                click.echo(f"line {report['line']}: {report['pointer']} {report['detail']}", err=True)
            case "stopped":
                raise click.ClickException(
                    f"it stopped after line {report['lines']}: {report['detail']} Send the file again."
                )
            case _:
                advance(report["lines"] - done)
                done = report["lines"]
        if report["type"] == "summary":
            click.echo(
                f"{report['lines']} lines, {report['imported']} products taken ({report['changed']} new or "
                f"changed), {report['errors']} lines with errors, {report['seconds']:g} s"
            )
            if report["errors"]:
                raise click.exceptions.Exit(1)
            return
    raise click.ClickException("the gateway ended in the middle of it. Send the file again.")


def _refusal(status: int, body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the gateway answered {status}: {body[:200]!r}"
