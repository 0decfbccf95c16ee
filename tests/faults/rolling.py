"""Rolling restarts under load: `python -m tests.faults.rolling --rounds 10`.

In each round every gateway and every agent is stopped gently and started again, one after the other, while
clients write through a load balancer. There are two of each, as `docker-compose.yml` and the chart have them.
With `--from COMMIT` all begin with the code of that commit: the first round brings that of this checkout, the
next one goes back to the older one, and so on. Exit status 1 when a promise was broken, a request failed, a
checkout was told to come again, or a group was behind for too long.
"""

import argparse
import asyncio
import io
import logging
import math
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice, takewhile
from pathlib import Path
from typing import Final

import structlog

from devstack.components import CARTSTREAM
from tests.faults import order_records
from tests.faults.balancer import Balancer
from tests.faults.history import Outcome
from tests.faults.lags import Lags, Worst, worst
from tests.faults.load_generator import Load
from tests.faults.run import Plan, Report, run
from tests.faults.schedule import Fault, Kind
from tests.faults.testbed import Testbed, code_of
from tests.faults.topology import AGENTS, GATEWAYS, Topology
from tests.faults.windows import come_again, failures
from tests.support.processes import ROOT

LOAD: Final = Load(clients=8, carts=96)
"""So many carts that none gets more changes than its window takes, in ten rounds of 90 seconds."""
BEHIND_S: Final = 30.0
"""So far behind no group may be at any look."""


def main() -> None:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rolling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often everything is restarted (10)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no restart begins later than that")
    parser.add_argument("--workers", type=int, default=2, help="of each group (2)")
    parser.add_argument("--from", dest="commit", help="begin with the code of this commit")
    parser.add_argument("--folder", type=Path, help="keep histories, data and logs here")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cartstream-rolling-"))
    sys.stdout.write(f"histories, data and logs: {folder}\n")
    older = None if options.commit is None else checked_out(options.commit, folder / "older")
    began = time.monotonic()
    topology = Topology(options.workers, mailers=options.workers)
    report, lags = asyncio.run(roll(options.rounds, options.minutes, folder, topology, older))
    behind = worst(lags.looks, report.history)
    sys.stdout.write(told(report, behind, lags, time.monotonic() - began))
    late = [each for each in behind.values() if each.behind_s >= BEHIND_S]
    if failed(report) or report.violations or late:
        sys.exit(1)


def checked_out(commit: str, folder: Path) -> Path:
    """A folder with the product as a commit has it; a process that is told so runs it."""
    archive = subprocess.run(
        ["git", "archive", commit],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    asked = [CARTSTREAM[0], "-c", "import cli; print(cli.__file__)"]
    found = subprocess.run(asked, env=code_of(folder), check=True, capture_output=True, text=True)
    assert Path(found.stdout).is_relative_to(folder), found.stdout
    return folder


async def roll(
    rounds: int, minutes: float, folder: Path, topology: Topology, older: Path | None
) -> tuple[Report, Lags]:
    """Do it; what came of it, and how far behind the groups were meanwhile."""
    # Topics and schema are brought up to date before an upgrade.
    variables = {} if older is None else dict.fromkeys(("gateway", *AGENTS), code_of(older))
    async with Testbed(folder, topology, variables) as testbed:
        testbed.older_code = older
        kinds = (Kind.RESTART, Kind.RESTART) if older is None else (Kind.NEWER, Kind.OLDER)
        faults = [
            Fault(0, kind, name, 0)
            for kind in islice(cycle(kinds), rounds)
            for name in one_by_one(topology, kind)
        ]
        async with Balancer(testbed.gateways) as balancer, Lags(testbed, folder / "lags.csv") as lags:
            end = time.monotonic() + 60 * minutes
            in_time = takewhile(lambda _: time.monotonic() < end, shown(faults))
            report = await run(
                testbed, Plan(seed=-10, seconds=0, load=LOAD), folder, in_time, pick=balancer.pick
            )
    return report, lags


def shown(faults: Sequence[Fault]) -> Iterator[Fault]:
    """The same, each told before it comes: ten rounds take a quarter of an hour."""
    for number, fault in enumerate(faults, start=1):
        sys.stdout.write(f"{number}/{len(faults)} {fault.kind} {fault.target}\n")
        sys.stdout.flush()
        yield fault


def one_by_one(topology: Topology, kind: Kind) -> Sequence[str]:
    """In which order: readers of records get newer code before writers, and older code after them."""
    upwards = (*topology.agents, *GATEWAYS)
    return upwards[::-1] if kind is Kind.OLDER else upwards


def failed(report: Report) -> Counter[str]:
    """Every request that failed, also those that were told to come again, by the reason."""
    clients = (*failures(report.history), *come_again(report.history))
    return Counter(each.reason for each in clients) + Counter(
        {f"{reason} (guest)": count for reason, count in report.guests_failed.items()}
    )


def told(report: Report, behind: Mapping[str, Worst], lags: Lags, seconds: float) -> str:
    """The figures."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in failed(report).items()) or "none"
    lost, doubled = (sum(each.what == what for each in report.violations) for what in ("lost", "doubled"))
    violations = f"{len(report.violations)} violations\n{report.explain()}" if report.violations else ""
    return "\n".join(
        (
            f"restarts: {len(report.outages)} in {seconds / 60:.1f} minutes",
            f"operations acknowledged as being in Kafka: {report.outcomes[Outcome.ACKNOWLEDGED]}",
            f"orders acknowledged: {report.checkouts[order_records.Outcome.ACKNOWLEDGED]}",
            f"guests' carts merged: {report.merges}",
            f"requests that failed: {reasons}",
            *(
                f"{group} was behind by {each.behind_s:.1f} s at the worst ({each.during})"
                for group, each in behind.items()
            ),
            f"looks at the groups that got no answer: {lags.failed}",
            f"{lost} lost, {doubled} doubled {violations}\n",
        )
    )


if __name__ == "__main__":
    main()
