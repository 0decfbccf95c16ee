"""Rolling restarts under load: `python -m tests.faults.rolling --rounds 10`.

In each round every gateway and every agent is stopped gently and started again, one after the other, while
clients write through a load balancer. With `--from COMMIT` all begin with the code of that commit: the first
round brings that of this checkout, the next one goes back to the older one, and so on. Exit status 1 when a
promise was broken or a request failed.
"""

import argparse
import asyncio
import io
import logging
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from devstack.components import CARTSTREAM
from tests.faults import order_records
from tests.faults.balancer import Balancer
from tests.faults.history import Outcome
from tests.faults.lags import Lags
from tests.faults.load_generator import Load
from tests.faults.run import Plan, Report, run
from tests.faults.schedule import Fault, Kind
from tests.faults.testbed import Testbed, code_of
from tests.faults.topology import AGENTS
from tests.faults.windows import come_again, failures
from tests.support.processes import ROOT

LOAD: Final = Load(clients=8, carts=24)


def main() -> None:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rolling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often everything is restarted (10)")
    parser.add_argument("--from", dest="commit", help="begin with the code of this commit")
    parser.add_argument("--folder", type=Path, help="keep histories, data and logs here")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cartstream-rolling-"))
    sys.stdout.write(f"histories, data and logs: {folder}\n")
    older = None if options.commit is None else checked_out(options.commit, folder / "older")
    began = time.monotonic()
    report, worst = asyncio.run(roll(options.rounds, folder, older))
    failed = failures(report.history)
    sys.stdout.write(told(report, worst, time.monotonic() - began))
    if failed or report.violations:
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


async def roll(rounds: int, folder: Path, older: Path | None) -> tuple[Report, Mapping[str, float]]:
    """Do it; what came of it, and by group how many seconds it was behind at the worst."""
    # Topics and schema are brought up to date before an upgrade.
    variables = {} if older is None else dict.fromkeys(("gateway", *AGENTS), code_of(older))
    async with Testbed(folder, variables=variables) as testbed:
        testbed.older_code = older
        kinds = (Kind.RESTART, Kind.RESTART) if older is None else (Kind.NEWER, Kind.OLDER)
        faults = [
            Fault(0, kinds[number % 2], name, 0) for number in range(rounds) for name in testbed.processes
        ]
        async with Balancer(testbed.gateways) as balancer, Lags(testbed) as lags:
            report = await run(
                testbed, Plan(seed=-10, seconds=0, load=LOAD), folder, faults, pick=balancer.pick
            )
    return report, lags.worst


def told(report: Report, worst: Mapping[str, float], seconds: float) -> str:
    """The figures."""
    failed = Counter(each.reason for each in failures(report.history))
    reasons = ", ".join(f"{count} {reason}" for reason, count in failed.items()) or "none"
    lost, doubled = (sum(each.what == what for each in report.violations) for what in ("lost", "doubled"))
    violations = f"{len(report.violations)} violations\n{report.explain()}" if report.violations else ""
    return "\n".join(
        (
            f"restarts: {len(report.outages)} in {seconds / 60:.1f} minutes",
            f"operations acknowledged as being in Kafka: {report.outcomes[Outcome.ACKNOWLEDGED]}",
            f"orders acknowledged: {report.checkouts[order_records.Outcome.ACKNOWLEDGED]}",
            f"requests that failed: {reasons}",
            f"checkouts that were told to come again: {len(come_again(report.history))}",
            *(f"{group} was behind by {behind:.1f} s at the worst" for group, behind in worst.items()),
            f"{lost} lost, {doubled} doubled {violations}\n",
        )
    )


if __name__ == "__main__":
    main()
