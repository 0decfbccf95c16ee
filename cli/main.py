"""The command `cartstream`: each subcommand is imported when it is used, so that help is quick."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from devstack.errors import StackError
from devstack.files import password_file
from runtime.environment import is_given
from runtime.logs import configure_command_logging
from runtime.redaction import redacted
from runtime.settings import SettingsError

# By purpose: the command's name, where it is, and what `cartstream --help` says of it without importing it.
GROUPS = {
    "Run everything here, for development": {
        "up": ("cli.up:command", "Start servers and processes; Ctrl-C stops them."),
        "status": ("cli.status:command", "Show what the stack is doing."),
        "stop": ("cli.stop:command", "Stop the stack."),
        "demo": ("cli.demo:command", "Tell the whole story once, on servers of its own."),
        "mailbox": ("cli.mailbox:command", "Read the mails that the stack has sent."),
    },
    "Run one process": {
        "gateway": ("cli.gateway:command", "The HTTP gateway."),
        "streams": ("cli.streams:command", "A stream agent: compaction, merges."),
        "sinks": ("cli.sinks:command", "A sink: postgres, redis, mail or history."),
        "jobs": (
            "cli.jobs:command",
            "The singleton jobs: expiry, outbox, settlement, carts left behind, …",
        ),
        "supervise": ("cli.supervise:command", "As many workers of a group as its lag asks for."),
    },
    "Operate": {
        "topics": ("cli.topics:topics", "Create, alter and check the Kafka topics; the ACLs of each role."),
        "ops": ("cli.ops:command", "Serve the operations page."),
        "top": ("cli.top:command", "Show what every process and store is doing, in the terminal."),
        "workers": ("cli.workers:command", "Show who works in which group, how far behind, how fast."),
        "migrate": ("cli.migrate:command", "Bring the Postgres schema up to date."),
        "grants": ("cli.grants:command", "Print, or grant, what each process may do in Postgres."),
        "products": ("cli.products:command", "Fill the catalogue: a sample, or a file; publish it again."),
        "verify": ("cli.verify:command", "Compare Redis, Kafka and Postgres cart by cart."),
        "erase": ("cli.erase:command", "Erase carts and what their orders say of a person."),
        "carts": ("cli.carts:command", "Show what happened to a cart, and what every store has of it."),
        "dlq": ("cli.dlq:command", "List, show, replay and drop dead letters."),
        "restore": ("cli.restore:command", "Follow or start a restore of Redis; refill Kafka from Postgres."),
        "rebuild": ("cli.rebuild:command", "Write the carts of Kafka into Postgres again."),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself; None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that it tells may repeat what a server has said, and an address."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = redacted(error.message)
            raise

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`, all columns at the same place."""
        width = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, (_, text) in group.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cartstream")
def cartstream() -> None:
    """Carts that survive anything: Redis for the live cart, Kafka for the truth, Postgres for the rest."""


def main() -> None:
    """The entry point. A wrong setting or an error of the stack is one clear message, not a traceback."""
    configure_command_logging()  # processes set up their own logs
    find_password()
    try:
        cartstream()
    except SettingsError as error:
        _fail(str(error))
    except StackError as error:
        _fail(redacted(str(error)))


def find_password() -> None:
    """Without an address of Postgres the commands reach the embedded one, with the password that it has."""
    embedded = password_file(Path(os.environ.get("CARTSTREAM_DATA_DIR", ".local")).resolve())
    if not is_given("CARTSTREAM_POSTGRES_URL") and embedded.exists():
        os.environ.setdefault("PGPASSFILE", str(embedded))


def _fail(message: str) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)
