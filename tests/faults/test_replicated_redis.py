"""The promise where Redis is several servers that take over from each other: a cluster, and behind sentinels.

Everything else breaks meanwhile, too. Printed is for how long requests failed around each fault.
"""

import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

import pytest

from tests.faults.history import Began
from tests.faults.load_generator import Load
from tests.faults.run import Plan, Report, run
from tests.faults.schedule import Fault, Kind
from tests.faults.testbed import Testbed
from tests.faults.windows import unexplained, windows
from tests.support.redis_servers import ClusterServers, Replicated, SentinelServers

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NODE_TIMEOUT_MS: Final = 2000


OTHERS: Final = ((Kind.KILL, "gateway"), (Kind.FREEZE, "sink-redis"), (Kind.KILL, "compaction"))
"""What breaks between the faults of Redis."""
LASTING: Final = ((Kind.CUT, "kafka"), (Kind.FLUSH, "redis"))
"""What clients notice for longer than it lasts; it comes last."""


def faults_with(*of_redis: Kind) -> list[Fault]:
    """These faults of Redis, and with them those of everybody else."""
    pairs = zip_longest(((kind, "redis") for kind in of_redis), OTHERS)
    mixed = [each for pair in pairs for each in pair if each is not None]
    return [
        Fault(3.0 + 4.0 * number, kind, target, 2.0)
        for number, (kind, target) in enumerate([*mixed, *LASTING])
    ]


async def hold(servers: Replicated, faults: Sequence[Fault], folder: Path) -> None:
    """Play the faults under load: nothing is lost or doubled, requests fail only while a fault lasts."""
    async with Testbed(folder, replicated=servers) as testbed:
        report = await run(testbed, Plan(seed=-13, seconds=0, load=Load()), folder, faults)
    say(report)
    assert not report.violations, report.explain()
    kinds = {kind for kind, _ in LASTING}
    first = next(
        number
        for number, record in enumerate(report.history)
        if isinstance(record, Began) and record.fault in kinds
    )
    # How far a change gets in time is up to Kafka and Postgres.
    failed = [each for each in unexplained(report.history[:first]) if each.reason != "durability-not-reached"]
    assert failed == []


def say(report: Report) -> None:
    """What was done, and what clients have noticed."""
    lost, doubled = (sum(each.what == what for each in report.violations) for what in ("lost", "doubled"))
    counts = [f"{number} {outcome}" for outcome, number in report.outcomes.items()]
    lines = [
        f"operations: {', '.join(counts)}",
        *map(str, windows(report.history)),
        f"{lost} lost, {doubled} doubled, {len(report.violations)} violations",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


async def test_a_cluster_that_changes_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with ClusterServers(tmp_path / "cluster", NODE_TIMEOUT_MS) as servers:
        faults = faults_with(Kind.PRIMARY_KILLED, Kind.SLOT_MOVED, Kind.FAILOVER_BY_HAND)
        await hold(servers, faults, tmp_path)


async def test_sentinels_that_choose_another_master_lose_and_double_nothing(tmp_path: Path) -> None:
    with SentinelServers(tmp_path / "sentinels", NODE_TIMEOUT_MS) as servers:
        await hold(servers, faults_with(Kind.PRIMARY_KILLED, Kind.FAILOVER_BY_HAND), tmp_path)
