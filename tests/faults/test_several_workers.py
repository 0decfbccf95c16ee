"""Several workers of each group, more than there are partitions, and a gateway that is sick alone."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.history import Add
from tests.faults.load_generator import Load
from tests.faults.run import Plan, run
from tests.faults.scenario import Scenario
from tests.faults.schedule import Fault, Kind
from tests.faults.testbed import Testbed
from tests.faults.topology import ALONE, SEVERAL, Topology
from tests.support.waiting import until
from topics.groups import COMPACTION, POSTGRES_SINK
from topics.registry import CART_CHANGED, CARTS

pytestmark = [
    pytest.mark.drill,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(400),
]

SPARE = Topology(workers=3, partitions=2)
"""One worker of each group has nothing to do."""
TEA = Add("tea", 2, 350)
JAM = Add("jam", 1, 420)
BOTH = {"tea": 2, "jam": 1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def testbed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Testbed]:
    """The product with spare workers."""
    async with Testbed(tmp_path_factory.mktemp("several"), SPARE) as whole:
        yield whole


async def test_whoever_is_left_takes_over_what_the_others_had(testbed: Testbed, tmp_path: Path) -> None:
    leaving = [name for group in SEVERAL for name in testbed.topology.workers_of(group)[:2]]
    async with Scenario(testbed, tmp_path) as scenario:
        await scenario.do(TEA)
        await scenario.settled()
        for name in leaving:
            await testbed.leave(name)
        await scenario.do(JAM)
        assert scenario.lines(await scenario.settled()) == BOTH
        for name in leaving:
            await testbed.join(name)
        await scenario.do(JAM)
        assert scenario.lines(await scenario.settled()) == {"tea": 2, "jam": 2}


async def test_partitions_that_move_under_load_lose_and_double_nothing(
    testbed: Testbed, tmp_path: Path
) -> None:
    plan = Plan(seed=-4, seconds=0, load=Load(clients=8, carts=24), topology=SPARE)
    faults = [
        Fault(1.0, Kind.LEAVE, "compaction", 4.0),
        Fault(1.0, Kind.LEAVE, "compaction-2", 4.0),
        Fault(1.0, Kind.LEAVE, "sink-postgres", 4.0),
        Fault(1.0, Kind.KILL, "sink-postgres-2", 0.0),
        Fault(1.0, Kind.LEAVE, "sink-redis", 4.0),
        Fault(1.0, Kind.BEYOND, "compaction", 0.0),
    ]
    report = await run(testbed, plan, tmp_path, faults)
    assert not report.violations, report.explain()
    assert report.moves[COMPACTION]
    assert report.moves[POSTGRES_SINK]


@pytest.mark.parametrize("kind", [Kind.CUT_ALONE, Kind.CLOCK_BEHIND])
async def test_a_gateway_that_is_sick_alone_holds_back_nobody(
    testbed: Testbed, tmp_path: Path, kind: Kind
) -> None:
    plan = Plan(seed=-5, seconds=0, load=Load(clients=8, carts=24), topology=SPARE)
    report = await run(testbed, plan, tmp_path, [Fault(1.0, kind, ALONE, 16.0)])
    assert not report.violations, report.explain()


@pytest.mark.timeout(700)
async def test_an_outage_that_outlasts_every_request_loses_and_doubles_nothing(
    testbed: Testbed, tmp_path: Path
) -> None:
    plan = Plan(seed=-7, seconds=0, load=Load(clients=4, carts=24, pause_seconds=0.5), topology=SPARE)
    # It comes while partitions move: a worker may be in the middle of its recovery.
    faults = [Fault(1.0, Kind.LEAVE, "compaction", 1.0), Fault(1.1, Kind.OUTAGE, "kafka", 95.0)]
    report = await run(testbed, plan, tmp_path, faults)
    assert not report.violations, report.explain()


# Last: the end of a log that is lost has carts of the tests before, too.


async def have_both(scenario: Scenario) -> bool:
    """Whether Redis and Postgres have what was added before a topic lost its end, and what came then."""
    copies = await scenario.collector.copies([scenario.cart.cart_id])
    return all([copy.lines for copy in store.values()] == [BOTH] for store in copies)


async def test_changes_after_a_log_that_lost_its_end_are_folded(testbed: Testbed, tmp_path: Path) -> None:
    async with Scenario(testbed, tmp_path) as scenario:
        await scenario.do(TEA)
        await scenario.settled()
        await testbed.lose_the_end(CART_CHANGED.name)
        # The new record may stand where the lost one stood: then anti-entropy finds it, a minute later.
        await scenario.do(JAM)
        await until(partial(have_both, scenario), "Redis and Postgres with both")


async def test_what_carts_has_lost_with_its_end_comes_back_for_the_carts_of_all_tests(
    testbed: Testbed, tmp_path: Path
) -> None:
    async with Scenario(testbed, tmp_path) as scenario:
        await scenario.do(TEA)
        await scenario.settled()
        await testbed.lose_the_end(CARTS.name)
        # The new record stands where the lost one stood, and the sinks have read that far.
        await scenario.do(JAM)
        await until(partial(have_both, scenario), "Redis and Postgres with both")

        async def all_are_equal() -> bool:
            return (await testbed.command("verify"))[0] == 0

        # Carts whose last records are lost come back from a store, or from their rows.
        restored, said = await testbed.command("restore", "--from", "postgres")
        assert restored == 0, said
        await until(all_are_equal, "every cart equal in Redis, `carts` and Postgres", every_s=1.0)
