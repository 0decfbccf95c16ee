"""`cartstream supervise`: as many workers of one group on this host as its lag asks for."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import click

from delivery.workers import require_ports, supervise
from ops.running import Failed, settings
from ops.scaling import keep_scaled
from runtime.settings import SettingsError
from runtime.supervision.scaling import Policy
from runtime.supervision.supervisor import Supervisor
from topics.groups import GROUPS

COMMANDS: Final = tuple(dict.fromkeys(group.command for group in GROUPS))


@click.command("supervise")
@click.option(
    "--min", "least", type=click.IntRange(1, 64), default=1, show_default=True, help="Fewest workers."
)
@click.option("--max", "most", type=click.IntRange(1, 64), required=True, help="Most workers.")
@click.option(
    "--behind",
    type=click.FloatRange(min=2),
    default=10.0,
    show_default=True,
    help="Seconds: the group is late when its first waiting record is as old; below half of it, calm.",
)
@click.option(
    "--more-after",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds that it is late before a worker is added.",
)
@click.option(
    "--fewer-after",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds that it is calm before a worker leaves; twice as long after one that was missed.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.argument("agent", nargs=2)
def command(
    agent: tuple[str, str],
    *,
    least: int,
    most: int,
    behind: float,
    more_after: float,
    fewer_after: float,
    every: float,
) -> None:
    """Run AGENT, such as `streams compaction`, with as many workers as its lag asks for.

    Otherwise it is as `--workers`: SIGTERM stops all, SIGHUP renews them one by one.
    """
    name = " ".join(agent)
    if name not in COMMANDS:
        raise click.UsageError(f"there is no agent `{name}`: use one of {', '.join(COMMANDS)}")
    if least > most:
        raise click.UsageError(f"--min {least} is more than --max {most}")
    environment = settings()
    partitions = environment.partitions_of(next(group.topic for group in GROUPS if group.command == name))
    if most > partitions:
        raise click.UsageError(f"{most} workers cannot share {partitions} partitions: use --max {partitions}")
    try:
        require_ports(environment, most)
    except SettingsError as error:
        raise Failed(str(error)) from error
    policy = Policy(least=least, most=most, late_s=behind, more_after_s=more_after, fewer_after_s=fewer_after)

    def scaling(supervisor: Supervisor) -> Coroutine[Any, Any, None]:
        return keep_scaled(supervisor, environment, name, policy, every)

    asyncio.run(supervise(agent, environment, least, scaling))
