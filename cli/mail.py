"""`cartstream mail`: the mails that the embedded stack's mailbox has taken."""

import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from devstack.mailbox.messages import Letters
from devstack.settings import StackSettings
from runtime.settings import load

_FOLDER = click.option("--data-dir", type=click.Path(path_type=Path), help="As for `cartstream up`.")


@click.group("mail")
def command() -> None:
    """Read what the mailbox of `cartstream up` has taken; it sends nothing on."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Newest mails.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_FOLDER
def list_mails(limit: int, as_json: bool, data_dir: Path | None) -> None:
    """List the mails, newest first; a Message-ID that came several times is one line."""
    mails = _letters(data_dir).list(limit)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(mails)).decode())
        return
    if not mails:
        click.echo("no mail yet")
        return
    table = Table("id", "received", "to", "subject", "copies", box=None, header_style="bold")
    table.columns[0].no_wrap = True
    for mail in mails:
        received = f"{mail.received:%Y-%m-%d %H:%M:%S}"
        table.add_row(mail.id, received, mail.recipient, mail.subject, str(mail.copies))
    Console().print(table, markup=False)


@command.command("show")
@click.argument("mail_id")
@click.option("--raw", is_flag=True, help="The mail as it came.")
@_FOLDER
def show(mail_id: str, raw: bool, data_dir: Path | None) -> None:
    """Show a mail: headers and text."""
    letter = _letters(data_dir).read(mail_id)
    if letter is None:
        raise click.ClickException(f"there is no mail {mail_id}: `cartstream mail list` shows them")
    if raw:
        sys.stdout.buffer.write(letter.raw)
        return
    for name, value in letter.headers:
        click.echo(f"{name}: {value}")
    click.echo()
    click.echo(letter.text or letter.html)


def _letters(data_dir: Path | None) -> Letters:
    settings = load(StackSettings)
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    return Letters(settings.mail_folder)
