"""`cartstream demo`: the whole story once, on servers of its own; exits with 1 when a step fails."""

import signal
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from devstack.components import usual
from devstack.console import ConsoleReporter, Milestones
from devstack.demo.story import Story
from devstack.embedded import EmbeddedStack
from devstack.mailbox.messages import Messages
from devstack.settings import StackSettings
from devstack.spec import RestartPolicy
from runtime.settings import load


@click.command("demo")
def command() -> None:
    """Tell the whole story once on servers of its own: add, wipe Redis, it is back, check out, get a mail."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Both unwind the blocks below; a shell's background job would otherwise ignore SIGINT.
        signal.signal(number, signal.default_int_handler)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="cartstream-demo-") as folder:
        began = time.perf_counter()
        names = usual(load(StackSettings))
        console.print("starting Kafka, Redis, Postgres, gateway, agents and sinks on free ports ...")
        reporter = Milestones(ConsoleReporter(names, console))
        with EmbeddedStack(Path(folder), only=names, policy=RestartPolicy.ALWAYS, reporter=reporter) as stack:
            console.print(f"[green]ready[/green] after {time.perf_counter() - began:.1f} s\n")
            story = Story(stack.urls, Messages(stack.settings.mail_folder), console)
            story.tell()
    for title, seconds in story.seconds.items():
        console.print(f"{seconds:7.2f} s  {title}")
    console.print("[bold green]The story holds.[/bold green]")
