"""`cartstream products`: the catalogue's sample, imports from a file, and exports."""

import asyncio
import sys
from pathlib import Path
from typing import BinaryIO

import click
import psycopg

from devstack.settings import StackSettings
from gateway.products.importing import LineError, Summary
from ops.products import ImportFailed, export, import_file, publish_again, put_sample
from ops.progress import Bars, bars
from runtime.owners import OwnerSettings, ProductsOwner
from runtime.settings import load
from store.postgres.session import Address
from store.postgres.settings import PostgresSettings


@click.group("products")
def command() -> None:
    """Fill the catalogue."""


@command.command("sample")
def sample_command() -> None:
    """Put two dozen products into Postgres (CARTSTREAM_POSTGRES_URL), unless there are some already."""
    owner = load(OwnerSettings).products_owner
    if owner is not ProductsOwner.INTERNAL:
        click.echo(f"nothing to do: products are not kept here (CARTSTREAM_PRODUCTS_OWNER is {owner})")
        return
    try:
        count = asyncio.run(put_sample(_address()))
    except psycopg.OperationalError as error:
        raise click.ClickException(f"Postgres did not take it: {error} Try again.") from error
    click.echo(f"{count} products put" if count else "nothing to do: there are products already")


@command.command("publish")
def publish_command() -> None:
    """Send every product of Postgres to Kafka again, by the outbox: for a topic that was lost.

    Products may change meanwhile, and doing it again does no harm.
    """
    owner = load(OwnerSettings).products_owner
    if owner is not ProductsOwner.INTERNAL:
        raise click.ClickException(
            f"products are not kept here (CARTSTREAM_PRODUCTS_OWNER is {owner}): their owner has to send them"
        )
    try:
        with bars() as shown:
            count = asyncio.run(publish_again(_address(), shown))
    except psycopg.OperationalError as error:
        raise click.ClickException(f"Postgres did not take it: {error} Try again.") from error
    click.echo(f"{count} products are on their way (`cartstream jobs` carries them)")


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", help="The gateway; without it the one of the stack here [http://127.0.0.1:8000].")
def import_command(file: Path, url: str | None) -> None:
    """Send FILE, a product as JSON a line, to the gateway. Lines with errors are named, the others kept.

    A line changes what it names of a product, so a feed may have prices alone. Sending it again does no harm,
    except with `stock_change`. Ends with 1 if there was an error.
    """
    gateway = url or load(StackSettings).urls.gateway
    try:
        with bars() as shown:
            errors = asyncio.run(_import(file, gateway, shown))
    except ImportFailed as error:
        raise click.ClickException(str(error)) from error
    if errors:
        sys.exit(1)


@command.command("export")
@click.argument("file", type=click.File("wb"), default="-")
@click.option("--unconditional", is_flag=True, help="Without versions, for another catalogue.")
def export_command(file: BinaryIO, unconditional: bool) -> None:  # as click calls it
    """Write every product of Postgres to FILE, or standard output, a line each, as `import` takes them.

    Each line has the version of its product in `if_version`: when the file is imported, a product that was
    changed or sold since is left as it is, and its line is named.
    """
    owner = load(OwnerSettings).products_owner
    if owner is not ProductsOwner.INTERNAL:
        raise click.ClickException(
            f"products are not kept here (CARTSTREAM_PRODUCTS_OWNER is {owner}): their owner has them"
        )
    try:
        with bars() as shown:
            asyncio.run(_export(file, shown, conditional=not unconditional))
    except psycopg.OperationalError as error:
        raise click.ClickException(f"Postgres did not answer: {error} Try again.") from error


async def _export(file: BinaryIO, shown: Bars, *, conditional: bool) -> None:
    async for lines in export(_address(), shown, conditional=conditional):
        file.write(lines)


async def _import(file: Path, gateway: str, shown: Bars) -> int:
    """Tells what becomes of the file; returns how many lines were refused."""
    errors = 0
    async for report in import_file(file, gateway, shown):
        match report:
            case LineError():
                click.echo(f"line {report.line}: {report.pointer} {report.detail}", err=True)
            case Summary():
                errors = report.errors
                click.echo(
                    f"{report.lines} lines, {report.imported} products taken ({report.changed} new or "
                    f"changed), {errors} lines with errors, {report.seconds:g} s"
                )
    return errors


def _address() -> Address:
    return load(PostgresSettings).postgres_address
