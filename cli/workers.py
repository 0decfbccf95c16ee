"""`cartstream workers`: who works in which consumer group, how far behind, how fast."""

from collections.abc import Sequence

import click
from rich.text import Text

from cli.tables import new_table, print_table
from ops.running import print_json, run, settings
from ops.workers import GroupReport, GroupState, Member, look

COLOURS = {GroupState.STABLE: "green", GroupState.REBALANCING: "yellow"}


@click.command("workers")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=60),
    default=2.0,
    show_default=True,
    help="For how long rates are measured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with every partition.")
def command(seconds: float, *, as_json: bool) -> None:
    """Show the workers of every consumer group: partitions, lag, age of the lag, rate.

    Reads only; safe at any time.
    """
    environment = settings()
    reports = run(environment, look(environment, seconds))
    if as_json:
        print_json({"groups": reports})
    else:
        _show(reports)


def _show(reports: Sequence[GroupReport]) -> None:
    table = new_table("group", "state", "worker", "host", "partitions", "lag", "behind", "records/s")
    for each in reports:
        unowned = f"{len(each.unowned)} without owner" if each.unowned else f"all {len(each.partitions)}"
        behind = "?" if each.behind_s is None else f"{each.behind_s:g} s"
        figures = ("?" if each.lag is None else str(each.lag), behind, _rate(each.records_per_s))
        spare = f", {len(each.spare)} spare" if each.spare else ""
        table.add_row(
            each.group,
            Text(each.state, style=COLOURS.get(each.state, "red")),
            f"{len(each.members)} workers{spare}",
            "",
            unowned,
            *figures,
        )
        for member in each.members:
            table.add_row("", "", *_member(each, member))
    print_table(table)
    for each in reports:
        if each.problem:
            click.echo(f"{each.group}: {each.problem}")


def _member(group: GroupReport, member: Member) -> tuple[str, ...]:
    own = [place for place in group.partitions if place.partition in member.partitions]
    lag = [place.lag for place in own if place.lag is not None]
    behind = [place.behind_s for place in own if place.behind_s is not None]
    rates = [place.records_per_s for place in own if place.records_per_s is not None]
    return (
        member.instance_id or "(no instance id)",
        f"{member.host} ({member.address})",
        ranges(member.partitions) or "none, spare",
        str(sum(lag)) if lag else "",
        f"{max(behind):g} s" if behind else "",
        _rate(sum(rates)) if rates else "",
    )


def _rate(records_per_s: float | None) -> str:
    return "?" if records_per_s is None else f"{records_per_s:g}"


def ranges(partitions: Sequence[int]) -> str:
    """Sorted numbers in short: 0-3 7 9-10."""
    runs: list[list[int]] = []
    for number in partitions:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
