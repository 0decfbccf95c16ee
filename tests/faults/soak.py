"""The fault suite for as long as one likes: `python -m tests.faults.soak --seeds 20 --ops 50000`.

One testbed, one run a seed, one line each; at the end a table of what was done, broken and found. Exit
status 1 when a promise was broken, with the line that does that seed again.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from tests.faults import order_records
from tests.faults.history import Outcome
from tests.faults.load_generator import Load
from tests.faults.order_checks import mails_sent_again
from tests.faults.run import Plan, Report, run
from tests.faults.schedule import LAST, schedule
from tests.faults.testbed import Testbed
from tests.faults.topology import SERVERS, Topology
from topics.registry import PARTITIONS

BEGIN: Final = "<!-- soak: begin -->"
END: Final = "<!-- soak: end -->"


def main() -> None:
    """Parse, run, tell."""
    options = _parser().parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seeds = [options.seed] if options.seed is not None else list(range(options.first, options.seeds + 1))
    load = Load(options.clients, options.carts, options.pause)
    topology = Topology(options.workers, options.partitions, proxied=SERVERS)
    each = 0 if options.seed is not None else -(-options.ops // len(seeds))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cartstream-soak-"))
    _say(f"histories, data and logs: {folder}")
    began = time.monotonic()
    reports: list[Report] = []
    plans = [Plan(seed, options.seconds, load, topology, each) for seed in seeds]
    try:
        asyncio.run(soak(plans, topology, folder, reports))
    finally:
        # Of the seeds that were done, also when it was interrupted or the testbed did not come back.
        if reports:
            text = table(reports, time.monotonic() - began)
            _say(f"\n{text}")
            if options.into is not None:
                _write_into(options.into, text)
    if any(report.violations for report in reports):
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="run the seeds up to this one (20)")
    parser.add_argument("--first", type=int, default=1, help="from this one on (%(default)s)")
    parser.add_argument("--seed", type=int, help="run only this seed")
    parser.add_argument("--ops", type=int, default=50_000, help="acknowledged, over all seeds (50000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each seed's schedule (60)")
    parser.add_argument("--clients", type=int, default=Load.clients, help="clients at once (%(default)s)")
    parser.add_argument("--carts", type=int, default=Load.carts, help="carts of a seed (%(default)s)")
    parser.add_argument("--workers", type=int, default=3, help="workers of each group (%(default)s)")
    parser.add_argument(
        "--partitions",
        type=int,
        default=PARTITIONS,
        help="of each topic (%(default)s); with fewer than workers some are spare",
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=Load.pause_seconds,
        help="mean pause of a client, s (%(default)s)",
    )
    parser.add_argument("--folder", type=Path, help="keep histories, data and logs here")
    parser.add_argument("--into", type=Path, help="a page that gets the table")
    return parser


async def soak(plans: Sequence[Plan], topology: Topology, folder: Path, reports: list[Report]) -> None:
    """Runs all plans on one testbed, saying how it goes; adds to `reports` after each."""
    began = time.monotonic()
    async with Testbed(folder, topology) as testbed:
        _say(f"the testbed is up after {time.monotonic() - began:.0f} s")
        for index, plan in enumerate(plans, start=1):
            faults = schedule(plan.seed, plan.seconds, topology)
            report = await run(testbed, plan, folder, faults, last=LAST)
            reports.append(report)
            acknowledged = report.outcomes[Outcome.ACKNOWLEDGED]
            orders = report.checkouts[order_records.Outcome.ACKNOWLEDGED]
            verdict = "well" if not report.violations else f"{len(report.violations)} violations"
            _say(
                f"{index:3}/{len(plans)} seed {plan.seed}: {acknowledged} acknowledged, {orders} orders, "
                f"{report.merges} merges, {report.erasures} erasures, {report.saved} saved, "
                f"{sum(report.moves.values())} partitions moved, "
                f"{len(faults) + 1} faults, quiet after {report.quiet_after:.1f} s, {verdict}; "
                f"{time.monotonic() - began:.0f} s so far"
            )
            if report.violations:
                _say(report.explain())


def table(reports: Sequence[Report], seconds: float) -> str:
    """What was done and found, as Markdown."""
    outcomes: Counter[Outcome] = Counter()
    orders: Counter[order_records.Outcome] = Counter()
    found: Counter[str] = Counter()
    longest: dict[str, list[float]] = defaultdict(list)
    for report in reports:
        outcomes.update(report.outcomes)
        orders.update(report.checkouts)
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
        ("orders acknowledged", orders[order_records.Outcome.ACKNOWLEDGED]),
        ("checkouts never answered", orders[order_records.Outcome.UNKNOWN]),
        ("checkouts refused", orders[order_records.Outcome.REFUSED]),
        ("orders cancelled", sum(report.cancelled for report in reports)),
        ("guest carts merged", sum(report.merges for report in reports)),
        ("carts erased", sum(report.erasures for report in reports)),
        ("changes of what is saved for later", sum(report.saved for report in reports)),
        ("changes of details", sum(report.details for report in reports)),
        *moved(reports),
        ("mails about orders", sum(report.mails for report in reports)),
        ("mails sent again", sum(mails_sent_again(report.stores) for report in reports)),
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


def moved(reports: Sequence[Report]) -> list[tuple[str, int]]:
    """By group, how often a partition came to another worker."""
    moves: Counter[str] = Counter()
    for report in reports:
        moves.update(report.moves)
    return [(f"partitions of {group} that moved", count) for group, count in sorted(moves.items())]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _write_into(page: Path, text: str) -> None:
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{page} has no {BEGIN} and {END}: put them where the table belongs")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
