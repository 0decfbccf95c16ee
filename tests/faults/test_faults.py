"""The promise at its worst moments, and under a short schedule: nothing acknowledged is lost or doubled.

`python -m tests.faults.soak` does the same for longer and with any seed.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from carts.limits import TIMING
from tests.faults import order_records
from tests.faults.balancer import Balancer
from tests.faults.catalogue import price
from tests.faults.history import Add, Clear, Fail, Ok, Outcome, Remove, Set, Unknown
from tests.faults.load_generator import Load, again
from tests.faults.proxy import NetworkCondition
from tests.faults.run import Plan, run
from tests.faults.scenario import Scenario
from tests.faults.schedule import LAST, Fault, Kind, schedule
from tests.faults.testbed import Testbed
from tests.faults.topology import GATEWAYS
from tests.faults.windows import failures

pytestmark = [
    pytest.mark.drill,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("faults"),
]

TEA = Add("tea", 2, 350)
JAM = Add("jam", 1, 420)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def testbed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Testbed]:
    """The product on servers that may be broken; each test leaves them whole."""
    # A load balancer on a busy machine needs a while to see that a gateway stops.
    patient = {"gateway": {"CARTSTREAM_DRAIN_S": "8"}}
    async with Testbed(tmp_path_factory.mktemp("faults"), variables=patient) as whole:
        yield whole


@pytest_asyncio.fixture(loop_scope="module")
async def scenario(testbed: Testbed, tmp_path: Path) -> AsyncIterator[Scenario]:
    """A hand with a cart of its own."""
    async with Scenario(testbed, tmp_path) as opened:
        yield opened
    await testbed.mend()


def is_not_durable(answer: Ok | Fail | Unknown) -> bool:
    """Whether the gateway was killed before its answer, or, on a busy machine, after one by Redis alone."""
    return isinstance(answer, Unknown) or (isinstance(answer, Ok) and answer.durability == "redis")


async def test_an_add_survives_kill_9_between_script_and_publish(scenario: Scenario) -> None:
    await scenario.do(JAM)
    await scenario.settled()
    add = scenario.plan(TEA)
    await scenario.testbed.freeze("kafka")
    asking = asyncio.create_task(scenario.send(add))
    await scenario.until_in_outbox()
    for gateway in GATEWAYS:
        await scenario.testbed.kill(gateway)
    await scenario.testbed.thaw("kafka")
    assert is_not_durable(await asking)
    assert scenario.lines(await scenario.settled()) == {"jam": 1, "tea": 2}


async def test_a_retry_after_kill_9_between_script_and_publish_does_not_add_twice(scenario: Scenario) -> None:
    add = scenario.plan(TEA)
    await scenario.testbed.freeze("kafka")
    asking = asyncio.create_task(scenario.send(add))
    await scenario.until_in_outbox()
    await scenario.testbed.kill("gateway")
    await scenario.testbed.thaw("kafka")
    assert is_not_durable(await asking)
    await scenario.until_ok(again(add), gateway=1)
    assert scenario.lines(await scenario.settled()) == {"tea": 2}


async def test_a_retry_after_a_wipe_does_not_add_twice(scenario: Scenario) -> None:
    add = scenario.plan(TEA)
    await scenario.until_durable(add)
    await scenario.wipe()
    await scenario.until_ok(again(add))
    assert scenario.lines(await scenario.settled()) == {"tea": 2}


async def test_an_add_in_flight_during_a_wipe_is_added_once_with_its_retry(scenario: Scenario) -> None:
    await scenario.do_durably(JAM)
    add = scenario.plan(TEA)
    await scenario.testbed.freeze("kafka")
    asking = asyncio.create_task(scenario.send(add))
    await scenario.until_in_outbox()
    # Its record is on its way to the broker, its place in Redis is gone: the retry gives attempt to it again.
    await scenario.wipe()
    await scenario.testbed.thaw("kafka")
    await asking
    await scenario.until_ok(again(add), gateway=1)
    assert scenario.lines(await scenario.settled()) == {"jam": 1, "tea": 2}


async def test_an_add_that_gets_into_kafka_after_a_wipe_comes_back_by_itself(scenario: Scenario) -> None:
    jam = await scenario.do_durably(JAM)
    scenario.testbed.alone.condition = NetworkCondition.HELD_UP
    began = time.monotonic()
    asking = asyncio.create_task(scenario.send(scenario.plan(TEA), gateway=1))
    await scenario.until_in_outbox()
    await scenario.wipe()
    # The restoration has looked by now, and found no record of it.
    assert (await scenario.read()).version == jam.version
    scenario.testbed.alone.condition = NetworkCondition.NORMAL
    held_up_s = time.monotonic() - began
    answer = await asking
    lines = scenario.lines(await scenario.settled())
    # Where the restoration took long, the broker may refuse the record as too late.
    may_be_lost = is_not_durable(answer) and held_up_s > TIMING.publish_deadline_us / 2_000_000
    assert lines == {"jam": 1, "tea": 2} or (may_be_lost and lines == {"jam": 1})


async def test_a_failover_that_is_written_to_loses_neither_side(scenario: Scenario) -> None:
    await scenario.do(JAM, Add("bun", 5, 80))
    replica = await scenario.replica()
    await scenario.do_durably(TEA, Set("jam", 4))
    await scenario.fail_over(replica)
    await scenario.do(Add("tea", 1, 350), Remove("bun"))
    assert scenario.lines(await scenario.settled()) == {"jam": 4, "tea": 3}


async def test_a_retry_on_a_stale_replica_does_not_add_twice(scenario: Scenario) -> None:
    await scenario.do(JAM)
    replica = await scenario.replica()
    add = scenario.plan(TEA)
    await scenario.until_durable(add)
    # The agent would tell the replica of the first attempt before the second one comes.
    await scenario.testbed.freeze("sink-redis")
    await scenario.fail_over(replica)
    await scenario.until_ok(again(add))
    await scenario.testbed.thaw("sink-redis")
    assert scenario.lines(await scenario.settled()) == {"jam": 1, "tea": 2}


async def test_a_quiet_cart_comes_back_after_a_failover(scenario: Scenario) -> None:
    await scenario.do(JAM)
    replica = await scenario.replica()
    await scenario.do(TEA)
    await scenario.settled()
    await scenario.fail_over(replica)
    # Nobody asks for the cart: what Redis has of it in the end was brought by the agent alone.
    stores = await scenario.settled()
    assert stores.redis[scenario.cart.cart_id].lines == {"jam": 1, "tea": 2}


async def test_a_cart_that_the_replica_never_knew_is_not_begun_anew(scenario: Scenario) -> None:
    replica = await scenario.replica()
    await scenario.do(TEA)
    await scenario.settled()
    await scenario.fail_over(replica)
    await scenario.do(JAM)
    assert scenario.lines(await scenario.settled()) == {"tea": 2, "jam": 1}


async def test_an_acknowledgement_that_never_arrives_adds_nothing_twice(scenario: Scenario) -> None:
    await scenario.do(JAM)
    scenario.testbed.network.condition = NetworkCondition.HALF_OPEN
    add = scenario.plan(TEA)
    first = await scenario.send(add)
    scenario.testbed.network.condition = NetworkCondition.NORMAL
    assert not isinstance(first, Ok) or first.durability == "redis"
    await scenario.until_ok(again(add))
    assert scenario.lines(await scenario.settled()) == {"jam": 1, "tea": 2}


async def test_an_add_during_an_outage_of_kafka_says_so_and_survives_kill_9(scenario: Scenario) -> None:
    scenario.testbed.network.condition = NetworkCondition.CUT
    added = await scenario.do(TEA)
    for gateway in GATEWAYS:
        await scenario.testbed.kill(gateway)
    scenario.testbed.network.condition = NetworkCondition.NORMAL
    assert added.durability == "redis"
    assert scenario.lines(await scenario.settled()) == {"tea": 2}


async def test_a_wipe_while_compaction_is_frozen_takes_back_nothing(scenario: Scenario) -> None:
    await scenario.do(JAM)
    await scenario.settled()
    await scenario.testbed.freeze("compaction")
    added = await scenario.do_durably(TEA)
    await scenario.wipe()
    shown = await scenario.read()
    await scenario.testbed.thaw("compaction")
    assert shown.version == added.version
    assert scenario.lines(await scenario.settled()) == {"jam": 1, "tea": 2}


async def test_a_gateway_that_wakes_after_the_deadline_adds_nothing_twice(scenario: Scenario) -> None:
    await scenario.do(JAM)
    scenario.testbed.network.condition = NetworkCondition.CUT
    add = scenario.plan(TEA)
    asking = asyncio.create_task(scenario.send(add))
    await scenario.until_in_outbox()
    await scenario.testbed.freeze(GATEWAYS[0])
    scenario.testbed.network.condition = NetworkCondition.NORMAL
    # The other gateway sweeps the change up; the frozen one still holds it, with the time of its script.
    await scenario.until_ok(again(add), gateway=1)
    await scenario.until_publishing_is_too_late()
    await scenario.testbed.thaw(GATEWAYS[0])
    await asking
    await scenario.do(Clear(), JAM)
    assert scenario.lines(await scenario.settled()) == {"jam": 1}


async def test_an_older_state_that_a_woken_worker_writes_is_answered_by_the_owner(scenario: Scenario) -> None:
    await scenario.do(JAM)
    *_, older = (await scenario.settled()).records[scenario.cart.cart_id]
    await scenario.do(TEA)
    await scenario.settled()
    await scenario.write_to_carts(older)
    # The last record of `carts` is what is kept: the owner must have written the newer state again.
    assert scenario.lines(await scenario.settled()) == {"jam": 1, "tea": 2}


async def test_an_order_whose_gateway_dies_is_placed_once_and_leaves_its_cart(scenario: Scenario) -> None:
    await scenario.do(TEA)
    await scenario.settled()
    checkout = scenario.plan_checkout()
    await scenario.testbed.freeze("kafka")
    asking = asyncio.create_task(scenario.run(checkout))
    # The order stands, its subtraction is in Redis and nowhere else.
    await scenario.until_in_outbox()
    for gateway in GATEWAYS:
        await scenario.testbed.kill(gateway)
    await scenario.testbed.thaw("kafka")
    # A machine that has other work may have killed the gateways when they had told of the order.
    assert not isinstance(await asking, Fail)
    order = await scenario.until_ordered(checkout, gateway=1)
    assert (order.seq, order.lines) == (1, {"tea": 2})
    assert scenario.lines(await scenario.settled()) == {}


async def test_an_order_that_redis_has_forgotten_is_not_placed_again(scenario: Scenario) -> None:
    await scenario.do(TEA)
    replica = await scenario.replica()
    await scenario.order()
    # The agent would tell the replica of the order before the second checkout comes.
    await scenario.testbed.freeze("sink-redis")
    await scenario.fail_over(replica)
    second = await scenario.until_refused(scenario.plan_checkout())
    await scenario.testbed.thaw("sink-redis")
    assert second.reason == "cart-empty"
    assert scenario.lines(await scenario.settled()) == {}


async def test_a_retry_of_an_add_that_was_ordered_puts_nothing_back(scenario: Scenario) -> None:
    await scenario.do(JAM)
    replica = await scenario.replica()
    add = scenario.plan(TEA)
    await scenario.until_ok(add)
    order = await scenario.order()
    await scenario.testbed.freeze("sink-redis")
    await scenario.fail_over(replica)
    await scenario.until_ok(again(add))
    await scenario.testbed.thaw("sink-redis")
    assert order.lines == {"jam": 1, "tea": 2}
    assert scenario.lines(await scenario.settled()) == {}


async def test_an_add_while_an_order_is_on_its_way_stays(scenario: Scenario) -> None:
    await scenario.do(TEA, JAM)
    await scenario.settled()
    await scenario.testbed.freeze("compaction")
    order = await scenario.order()
    await scenario.do_durably(Add("tea", 1, 350), Add("bun", 1, 80), Set("bun", 5))
    await scenario.wipe()
    await scenario.read()
    await scenario.testbed.thaw("compaction")
    assert order.lines == {"tea": 2, "jam": 1}
    assert scenario.lines(await scenario.settled()) == {"tea": 1, "bun": 5}


async def test_a_cancel_while_postgres_dies_gives_the_pieces_back_once(scenario: Scenario) -> None:
    names = await scenario.stock(mug=3)
    await scenario.do(Add(names["mug"], 2, price(names["mug"])))
    order = await scenario.order()
    # Killed between the server's word and its note of it, it sends the confirmation again.
    await scenario.kill("sink-mail")
    await asyncio.gather(
        scenario.testbed.kill("postgres"), *(scenario.cancel(order.order_id) for _ in range(3))
    )
    sales = (await scenario.settled()).sales
    assert sales.table[names["mug"]].stock == 3
    assert sales.cancellations.keys() >= {order.order_id}


async def test_redis_wiped_while_16_clients_write_loses_and_doubles_nothing(
    testbed: Testbed, tmp_path: Path
) -> None:
    plan = Plan(seed=-1, seconds=0, load=Load(clients=16, carts=24), acknowledged=400)
    report = await run(testbed, plan, tmp_path, faults=[Fault(3.0, Kind.FLUSH, "redis", 0)])
    assert not report.violations, report.explain()
    assert report.outcomes[Outcome.ACKNOWLEDGED] >= 400


async def test_a_rolling_restart_under_load_fails_no_request(testbed: Testbed, tmp_path: Path) -> None:
    plan = Plan(seed=-3, seconds=0, load=Load(clients=8, carts=24))
    one_by_one = [Fault(0, Kind.RESTART, name, 0) for name in testbed.processes]
    async with Balancer(testbed.gateways) as balancer:
        report = await run(testbed, plan, tmp_path, one_by_one, pick=balancer.pick)
    assert not report.violations, report.explain()
    assert failures(report.history) == []


async def test_a_short_schedule_of_faults_loses_and_doubles_nothing(testbed: Testbed, tmp_path: Path) -> None:
    plan = Plan(seed=2183, seconds=30, load=Load())
    faults = schedule(plan.seed, plan.seconds, testbed.topology)
    report = await run(testbed, plan, tmp_path, faults, last=LAST)
    assert not report.violations, report.explain()
    assert report.outcomes[Outcome.ACKNOWLEDGED] > 0
    assert report.checkouts[order_records.Outcome.ACKNOWLEDGED] > 0
