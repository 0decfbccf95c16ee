"""The fault suite for as long as one likes: `python -m tests.faults.soak --seeds 20 --ops 50000`.

One stand, one run a seed, one line each; at the end a table of what was done, broken and found. Exit status 1 when a
promise was broken, with the line that does that seed again.
"""

import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import structlog

from tests.faults.clients import Load
from tests.faults.history import Outcome
from tests.faults.run import Plan, Report, run
from tests.faults.schedule import schedule
from tests.faults.stand import Stand

BEGIN: Final = "<!-- soak: begin -->"
END: Final = "<!-- soak: end -->"


@click.command(help=__doc__)
@click.option("--seeds", default=20, show_default=True, help="How many seeds to run.")
@click.option("--first-seed", default=1, show_default=True, help="The first of them.")
@click.option("--seed", type=int, help="Only this one.")
@click.option("--ops", default=50_000, show_default=True, help="Acknowledged operations, over all seeds.")
@click.option("--seconds", default=60.0, show_default=True, help="How long each seed's schedule is.")
@click.option("--clients", default=16, show_default=True)
@click.option("--carts", default=48, show_default=True, help="How many they share, per seed.")
@click.option("--pause", default=0.05, show_default=True, help="A client's mean pause, in seconds.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep histories, data and logs here.")
@click.option("--into", type=click.Path(exists=True, path_type=Path), help="A page that gets the table.")
def main(
    seeds: int,
    first_seed: int,
    seed: int | None,
    ops: int,
    seconds: float,
    clients: int,
    carts: int,
    pause: float,
    folder: Path | None,
    into: Path | None,
) -> None:
    """Parse, run, tell."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    chosen = [seed] if seed is not None else list(range(first_seed, first_seed + seeds))
    each = 0 if seed is not None else -(-ops // len(chosen))
    load = Load(clients, carts, pause)
    plans = [Plan(number, seconds, load, each) for number in chosen]
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="cartstream-soak-"))
    click.echo(f"histories, data and logs: {folder}")
    began = time.monotonic()
    reports = asyncio.run(soak(plans, folder))
    text = table(reports, time.monotonic() - began)
    click.echo(f"\n{text}")
    if into is not None:
        _write_into(into, text)
    if any(report.violations for report in reports):
        sys.exit(1)


async def soak(plans: Sequence[Plan], folder: Path) -> list[Report]:
    """Runs all plans on one stand, saying how it goes."""
    reports = []
    began = time.monotonic()
    async with Stand(folder) as stand:
        click.echo(f"the stand is up after {time.monotonic() - began:.0f} s")
        for index, plan in enumerate(plans, start=1):
            faults = schedule(plan.seed, plan.seconds)
            report = await run(stand, plan, folder, faults)
            reports.append(report)
            acknowledged = report.outcomes[Outcome.ACKNOWLEDGED]
            verdict = "well" if not report.violations else f"{len(report.violations)} violations"
            click.echo(
                f"{index:3}/{len(plans)} seed {plan.seed}: {acknowledged} acknowledged, {len(faults)} faults, "
                f"quiet after {report.quiet_after:.1f} s, {verdict}, {time.monotonic() - began:.0f} s so far"
            )
            if report.violations:
                click.echo(report.explain())
    return reports


def table(reports: Sequence[Report], seconds: float) -> str:
    """What was done and found, as Markdown."""
    outcomes: Counter[Outcome] = Counter()
    found: Counter[str] = Counter()
    longest: dict[str, list[float]] = defaultdict(list)
    for report in reports:
        outcomes.update(report.outcomes)
        found.update(violation.what for violation in report.violations)
        for outage in report.outages:
            longest[f"{outage.fault} | {outage.target}"].append(outage.silence_us / 1_000_000)
    others = sum(count for what, count in found.items() if what not in {"lost", "doubled", "stores differ"})
    rows = [
        ("seeds", len(reports)),
        ("minutes", f"{seconds / 60:.0f}"),
        ("operations acknowledged as being in Kafka", outcomes[Outcome.ACKNOWLEDGED]),
        ("acknowledged by Redis only, Kafka being away", outcomes[Outcome.WEAK]),
        ("never answered", outcomes[Outcome.UNKNOWN]),
        ("refused", outcomes[Outcome.REFUSED]),
        ("faults", sum(len(each) for each in longest.values())),
        ("lost", found["lost"]),
        ("doubled", found["doubled"]),
        ("stores equal at the end", "no" if found["stores differ"] else "yes"),
        ("other violations", others),
        ("longest wait for equal stores, s", f"{max(report.quiet_after for report in reports):.1f}"),
    ]
    lines = ["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += ["| fault | of | times | longest silence, s |", "|---|---|---:|---:|"]
    lines += [f"| {name} | {len(each)} | {max(each):.1f} |" for name, each in sorted(longest.items())]
    return "\n".join(lines)


def _write_into(page: Path, text: str) -> None:
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise click.ClickException(f"{page} has no {BEGIN} and {END}: put them where the table belongs")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
