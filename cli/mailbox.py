"""`cartstream mailbox`: the mailbox of a stack for development: run it, read what it has received."""

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from cli.tables import new_table, print_table
from devstack.errors import StackError
from devstack.mailbox.messages import Messages
from devstack.settings import StackSettings
from runtime.settings import load

data_folder = click.option("--data-dir", type=click.Path(path_type=Path), help="As for `cartstream up`.")


@click.group("mailbox")
def command() -> None:
    """Read the mails that a stack for development has sent; none of them leaves it."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Newest mails.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@data_folder
def list_command(limit: int, as_json: bool, data_dir: Path | None) -> None:
    """List the mails, newest first. A Message-ID that was received several times is one line."""
    mails = _messages(data_dir).list(limit)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(mails)).decode())
        return
    if not mails:
        click.echo("no mail yet")
        return
    table = new_table("id", "received", "to", "subject", "copies")
    table.columns[0].no_wrap = True
    for mail in mails:
        received = f"{mail.received:%Y-%m-%d %H:%M:%S}"
        table.add_row(mail.id, received, mail.recipient, mail.subject, str(mail.copies))
    print_table(table)


@command.command("show")
@click.argument("mail_id")
@click.option("--raw", is_flag=True, help="The mail as it was received.")
@data_folder
def show_command(mail_id: str, raw: bool, data_dir: Path | None) -> None:
    """Show a mail: headers and text."""
    message = _messages(data_dir).read(mail_id)
    if message is None:
        raise click.ClickException(f"there is no mail {mail_id}: `cartstream mailbox list` shows them")
    if raw:
        sys.stdout.buffer.write(message.raw)
        return
    for name, value in message.headers:
        click.echo(f"{name}: {value}")
    click.echo()
    click.echo(message.text or message.html)


@command.command("serve")
def serve_command() -> None:
    """Run the mailbox: receive by SMTP, show on a page. `cartstream up` does it for you."""
    settings = load(StackSettings)
    try:
        from devstack.mailbox.server import serve  # noqa: PLC0415  its library is in the `local` extra only
    except ModuleNotFoundError as error:
        raise StackError(f"{error.name} is missing: install cartstream with the extra `local`") from error
    asyncio.run(serve(settings))


def _messages(data_dir: Path | None) -> Messages:
    settings = load(StackSettings)
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    return Messages(settings.mail_folder)
