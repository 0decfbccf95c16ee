"""`cartstream mailbox`: runs the embedded stack's mailbox; `cartstream up` does it for you."""

import asyncio

import click

from devstack.errors import StackError
from devstack.settings import StackSettings
from runtime.settings import load


@click.command("mailbox")
def command() -> None:
    """Take every mail by SMTP, keep it, show it on a page. For development: it sends nothing on."""
    settings = load(StackSettings)
    try:
        from devstack.mailbox.server import serve  # noqa: PLC0415  its library is in the `local` extra only
    except ModuleNotFoundError as error:
        raise StackError(f"{error.name} is missing: install cartstream with the extra `local`") from error
    asyncio.run(serve(settings))
