"""`cartstream topics repartition`: moves carts to topics with another number of partitions."""

import sys
from typing import Final

import click

from ops.old_generations import Dropped, drop_old
from ops.progress import bars
from ops.reopening import NEXT, AlreadyMoved, what_to_set
from ops.repartition import Moved, look, repartition, take_back, waiting_records
from ops.running import Failed, run_anywhere, settings
from ops.settings import OpsSettings
from topics.names import GENERATION
from topics.settings import MAX_PARTITIONS

_PAUSE_LIMIT_S: Final = 30.0
_READY_LIMIT_S: Final = 300.0


@click.command("repartition")
@click.argument("old", type=click.IntRange(1, MAX_PARTITIONS), required=False, metavar="OLD")
@click.argument("new", type=click.IntRange(1, MAX_PARTITIONS), required=False, metavar="NEW")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option(
    "--pause-limit",
    type=click.FloatRange(min=0.1),
    default=_PAUSE_LIMIT_S,
    show_default=True,
    help="Seconds that writes may wait; what takes longer is taken back.",
)
@click.option("--take-back", "is_back", is_flag=True, help="Take back what a killed command has left.")
@click.option("--drop-old", is_flag=True, help="Delete topics and Redis keys of earlier generations.")
def command(
    old: int | None, new: int | None, *, dry_run: bool, pause_limit: float, is_back: bool, drop_old: bool
) -> None:
    """Move carts from topics with OLD partitions to new ones with NEW, while the shop runs.

    Their states are copied while carts change. Then writes wait for some seconds: the rest is copied, and the
    new generation of topics is opened. Start its processes before that, with the variables that --dry-run
    prints: they wait for it. A command that was killed loses nothing: run it again. The way back is the same
    command with the numbers exchanged, in the new generation.
    """
    environment = settings()
    if is_back or drop_old:
        if old is not None or (is_back and drop_old):
            raise click.UsageError("--take-back and --drop-old stand alone")
        _tidy_up(environment, drop_old=drop_old)
        return
    if old is None or new is None:
        raise click.UsageError("say how many partitions carts have and shall have: repartition 16 48")
    if old != environment.partitions:
        raise click.UsageError(f"CARTSTREAM_PARTITIONS says {environment.partitions}, not {old}")
    if new == old:
        raise click.UsageError(f"carts have {old} partitions already")
    try:
        if dry_run:
            _show_plan(environment, new)
        else:
            _move(environment, new, pause_limit)
    except AlreadyMoved as moved:
        click.echo(str(moved))


def _tidy_up(environment: OpsSettings, *, drop_old: bool) -> None:
    if drop_old:
        _drop_old(environment)
        return
    try:
        run_anywhere(environment, take_back(environment, _say))
    except AlreadyMoved as moved:
        raise Failed(f"nothing can be taken back: {moved}") from moved


def _show_plan(environment: OpsSettings, new: int) -> None:
    run_anywhere(environment, look(environment))
    records = run_anywhere(environment, waiting_records(environment))
    click.echo(
        f"generation {GENERATION} has {environment.partitions} partitions, with {records} records to copy"
    )
    click.echo(f"generation {NEXT} gets {new}. For its processes {what_to_set(environment, NEXT, new)}")
    click.echo("nothing was changed")


def _move(environment: OpsSettings, new: int, pause_limit: float) -> None:
    with bars() as shown:
        moved = run_anywhere(
            environment,
            repartition(
                environment,
                new,
                pause_limit_s=pause_limit,
                ready_limit_s=_READY_LIMIT_S,
                say=_say,
                bars=shown,
            ),
        )
    _show(moved)
    if moved.writes_s is None:
        raise Failed(
            "the processes of the new generation do not take writes yet: see that they run, above all "
            "`cartstream sinks redis`"
        )


def _show(moved: Moved) -> None:
    click.echo(
        f"carts are in generation {moved.generation}, with {moved.partitions} partitions: "
        f"{moved.states} states and {moved.deletions} deletions copied, {moved.left_out} records left out"
    )
    writes = "not taken yet" if moved.writes_s is None else f"taken everywhere after {moved.writes_s:.1f} s"
    click.echo(f"writes stood still: open after {moved.open_s:.1f} s, {writes}")
    click.echo("stop the processes of the old generation; `--drop-old` deletes what it leaves")


def _drop_old(environment: OpsSettings) -> None:
    found: list[Dropped] = []
    run_anywhere(environment, drop_old(environment, found.append))
    for each in found:
        click.echo(f"generation {each.generation} is gone: its topics, and {each.keys} keys in Redis")
    if not found:
        click.echo(f"there is no generation before {GENERATION}")


def _say(what: str) -> None:
    click.echo(what)
    sys.stdout.flush()
