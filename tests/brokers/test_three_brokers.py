"""Three brokers: leaders are killed and a disk is wiped under load, and nothing is lost or counted twice."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from runtime.settings import KafkaSettings
from tests.faults import order_records
from tests.faults.history import Outcome
from tests.faults.load_generator import Load
from tests.faults.run import Plan, Report, run
from tests.faults.schedule import LEADER, Fault, Kind
from tests.faults.testbed import Testbed
from tests.faults.topology import Topology
from tests.faults.windows import windows
from tests.support.brokers import COUNT, Brokers
from tests.support.waiting import until
from topics.apply import check, errors_in
from topics.cluster import cluster
from topics.errors import ClusterUnreachableError
from topics.plan import Difference, Severity
from topics.registry import CARTS, TOPICS

pytestmark = [
    pytest.mark.brokers,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]

# Each broker leads two partitions of each topic.
SIX: Final = Topology(partitions=6)
DEAD_S: Final = 14.0
"""How long a broker is away: longer than the others wait for it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def testbed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Testbed]:
    """The product on three brokers; each test gets all of them at work."""
    folder = tmp_path_factory.mktemp("brokers")
    async with Brokers(folder) as brokers, Testbed(folder, SIX, brokers=brokers) as whole:
        yield whole


def say(capsys: pytest.CaptureFixture[str], report: Report) -> None:
    """Print what clients have noticed, and what was counted."""
    counts = {outcome: report.outcomes[outcome] for outcome in Outcome}
    orders = {outcome: number for outcome, number in report.checkouts.items() if number}
    lost, doubled = (sum(each.what == what for each in report.violations) for what in ("lost", "doubled"))
    lines = [
        f"operations: {', '.join(f'{number} {outcome}' for outcome, number in counts.items())}",
        f"checkouts: {', '.join(f'{number} {outcome}' for outcome, number in orders.items())}",
        *map(str, windows(report.history)),
        f"{lost} lost, {doubled} doubled, {len(report.violations)} violations",
        f"all stores equal {report.quiet_after:.1f} s after the end",
    ]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def all_brokers_at_work(testbed: Testbed) -> AsyncIterator[None]:
    """Whatever a test has left dead is started again."""
    yield
    assert testbed.brokers is not None
    await testbed.brokers.mend()


async def differences(testbed: Testbed) -> list[Difference]:
    """What `cartstream topics check` says."""
    kafka = KafkaSettings(kafka_bootstrap=testbed.urls.kafka_bootstrap)
    return await check(kafka, partitions=testbed.topology.partitions)


async def test_topics_have_three_copies_and_two_before_a_record_counts(testbed: Testbed) -> None:
    async with cluster(KafkaSettings(kafka_bootstrap=testbed.urls.kafka_bootstrap)) as connection:
        observed = await connection.observe(TOPICS)
    assert observed.brokers == COUNT
    assert {topic.replicas for topic in observed.topics.values()} == {3}
    assert {topic.configs["min.insync.replicas"] for topic in observed.topics.values()} == {"2"}
    assert await differences(testbed) == []


async def test_too_few_copies_in_sync_before_a_record_counts_are_named_and_mended(testbed: Testbed) -> None:
    async def named() -> bool:
        async with cluster(KafkaSettings(kafka_bootstrap=testbed.urls.kafka_bootstrap)) as connection:
            assert await connection.alter({CARTS.name: {"min.insync.replicas": "1"}}) == []
        # The controller has it at once, the brokers a moment later.
        found = {(each.topic, each.setting) for each in errors_in(await differences(testbed))}
        return found == {(CARTS.name, "min.insync.replicas")}

    await until(named, "the topic is named")
    code, said = await testbed.command("topics", "apply")
    assert code == 0, said
    assert await differences(testbed) == []


async def test_a_dead_broker_shows_as_topics_that_lack_copies(testbed: Testbed) -> None:
    brokers = testbed.brokers
    assert brokers is not None
    dead = await brokers.leader(CARTS.name)
    await brokers.kill(dead)

    async def told() -> list[Difference] | None:
        try:
            found = await differences(testbed)
        except ClusterUnreachableError:
            return None  # until the others miss the broker they name it as a leader
        return found if len(found) == len(TOPICS) else None

    found = await until(told, "every topic lacks copies", every_s=1.0)
    assert found is not None
    assert {each.topic for each in found} == {spec.name for spec in TOPICS}
    assert {(each.setting, each.severity) for each in found} == {("copies in sync", Severity.WARNING)}
    code, said = await testbed.command("topics", "check")
    # The table breaks its lines.
    assert (code, f"{len(TOPICS)} warnings" in said) == (0, True), said
    await brokers.mend()
    assert await differences(testbed) == []


async def test_leaders_that_die_and_a_wiped_disk_lose_and_double_nothing(
    testbed: Testbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(seed=-9, seconds=0, load=Load(clients=8, carts=24), topology=SIX)
    kinds = (Kind.BROKER_DEAD, Kind.BROKER_DEAD, Kind.BROKER_EMPTY)
    report = await run(testbed, plan, tmp_path, [Fault(3.0, kind, LEADER, DEAD_S) for kind in kinds])
    say(capsys, report)
    assert not report.violations, report.explain()
    assert report.outcomes[Outcome.ACKNOWLEDGED] > 0
    assert report.checkouts[order_records.Outcome.ACKNOWLEDGED] > 0
    assert await differences(testbed) == []
