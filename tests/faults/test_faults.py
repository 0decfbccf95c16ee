"""The promise at its worst moments, and under a short schedule: nothing acknowledged is lost or doubled.

`python -m tests.faults.soak` does the same for longer and with any seed.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults import order_records
from tests.faults.balancer import Balancer
from tests.faults.catalogue import price
from tests.faults.clients import Load, again
from tests.faults.history import Add, Clear, Fail, Ok, Outcome, Remove, Set, Unknown
from tests.faults.proxy import Weather
from tests.faults.run import Plan, run
from tests.faults.schedule import Fault, Kind, schedule
from tests.faults.shop import Shop
from tests.faults.stand import GATEWAYS, PROCESSES, Stand

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("faults"),
]

TEA = Add("tea", 2, 350)
JAM = Add("jam", 1, 420)
DECIDED = {
    "line-not-found",
    "precondition-failed",
    "short-stock",
    "cart-empty",
    "cart-outdated",
    "checkout-in-progress",
}
"""What the clients of the crowd ask for in vain with good reason."""
WAITED = {"cart-not-delivered", "deadline-exceeded"}
"""What a checkout is told that has waited for agents which took too long to come back: come again."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    """The product on servers that may be broken; each test leaves them whole."""
    async with Stand(tmp_path_factory.mktemp("faults")) as whole:
        yield whole


@pytest_asyncio.fixture(loop_scope="module")
async def shop(stand: Stand, tmp_path: Path) -> AsyncIterator[Shop]:
    """A hand with a cart of its own."""
    async with Shop(stand, tmp_path) as opened:
        yield opened
    await stand.mend()


async def test_an_add_survives_kill_9_between_script_and_publish(shop: Shop) -> None:
    await shop.do(JAM)
    await shop.settled()
    add = shop.plan(TEA)
    await shop.stand.freeze("kafka")
    asking = asyncio.create_task(shop.send(add))
    await shop.until_in_outbox()
    for gateway in GATEWAYS:
        await shop.stand.kill(gateway)
    await shop.stand.thaw("kafka")
    assert isinstance(await asking, Unknown)
    assert shop.lines(await shop.settled()) == {"jam": 1, "tea": 2}


async def test_a_retry_after_kill_9_between_script_and_publish_does_not_add_twice(shop: Shop) -> None:
    add = shop.plan(TEA)
    await shop.stand.freeze("kafka")
    asking = asyncio.create_task(shop.send(add))
    await shop.until_in_outbox()
    await shop.stand.kill("gateway")
    await shop.stand.thaw("kafka")
    assert isinstance(await asking, Unknown)
    await shop.until_ok(again(add), gateway=1)
    assert shop.lines(await shop.settled()) == {"tea": 2}


async def test_a_retry_after_a_wipe_does_not_add_twice(shop: Shop) -> None:
    add = shop.plan(TEA)
    assert isinstance(await shop.send(add), Ok)
    await shop.wipe()
    await shop.until_ok(again(add))
    assert shop.lines(await shop.settled()) == {"tea": 2}


async def test_an_add_in_flight_during_a_wipe_is_added_once_with_its_retry(shop: Shop) -> None:
    await shop.do(JAM)
    add = shop.plan(TEA)
    await shop.stand.freeze("kafka")
    asking = asyncio.create_task(shop.send(add))
    await shop.until_in_outbox()
    # Its record is on its way to the broker, its place in Redis is gone: the retry gives attempt to it again.
    await shop.wipe()
    await shop.stand.thaw("kafka")
    await asking
    await shop.until_ok(again(add), gateway=1)
    assert shop.lines(await shop.settled()) == {"jam": 1, "tea": 2}


async def test_a_failover_that_is_written_to_loses_neither_side(shop: Shop) -> None:
    await shop.do(JAM, Add("bun", 5, 80))
    replica = await shop.replica()
    await shop.do(TEA, Set("jam", 4))
    await shop.fail_over(replica)
    await shop.do(Add("tea", 1, 350), Remove("bun"))
    assert shop.lines(await shop.settled()) == {"jam": 4, "tea": 3}


async def test_a_retry_on_a_stale_replica_does_not_add_twice(shop: Shop) -> None:
    await shop.do(JAM)
    replica = await shop.replica()
    add = shop.plan(TEA)
    assert isinstance(await shop.send(add), Ok)
    # The agent would tell the replica of the first attempt before the second one comes.
    await shop.stand.freeze("sink-redis")
    await shop.fail_over(replica)
    await shop.until_ok(again(add))
    await shop.stand.thaw("sink-redis")
    assert shop.lines(await shop.settled()) == {"jam": 1, "tea": 2}


async def test_a_quiet_cart_comes_back_after_a_failover(shop: Shop) -> None:
    await shop.do(JAM)
    replica = await shop.replica()
    await shop.do(TEA)
    await shop.settled()
    await shop.fail_over(replica)
    # Nobody asks for the cart: what Redis has of it in the end was brought by the agent alone.
    stores = await shop.settled()
    assert stores.redis[shop.cart.cart_id].lines == {"jam": 1, "tea": 2}


async def test_a_cart_that_the_replica_never_knew_is_not_begun_anew(shop: Shop) -> None:
    replica = await shop.replica()
    await shop.do(TEA)
    await shop.settled()
    await shop.fail_over(replica)
    await shop.do(JAM)
    assert shop.lines(await shop.settled()) == {"tea": 2, "jam": 1}


async def test_an_acknowledgement_that_never_arrives_adds_nothing_twice(shop: Shop) -> None:
    await shop.do(JAM)
    shop.stand.proxy.weather = Weather.HALF_OPEN
    add = shop.plan(TEA)
    first = await shop.send(add)
    shop.stand.proxy.weather = Weather.FAIR
    assert not isinstance(first, Ok) or first.durability == "redis"
    await shop.until_ok(again(add))
    assert shop.lines(await shop.settled()) == {"jam": 1, "tea": 2}


async def test_an_add_during_an_outage_of_kafka_says_so_and_survives_kill_9(shop: Shop) -> None:
    shop.stand.proxy.weather = Weather.CUT
    added = await shop.do(TEA)
    for gateway in GATEWAYS:
        await shop.stand.kill(gateway)
    shop.stand.proxy.weather = Weather.FAIR
    assert added.durability == "redis"
    assert shop.lines(await shop.settled()) == {"tea": 2}


async def test_a_wipe_while_compaction_is_frozen_takes_back_nothing(shop: Shop) -> None:
    await shop.do(JAM)
    await shop.settled()
    await shop.stand.freeze("compaction")
    added = await shop.do(TEA)
    await shop.wipe()
    shown = await shop.read()
    await shop.stand.thaw("compaction")
    assert shown.version == added.version
    assert shop.lines(await shop.settled()) == {"jam": 1, "tea": 2}


async def test_a_gateway_that_wakes_after_the_deadline_adds_nothing_twice(shop: Shop) -> None:
    await shop.do(JAM)
    shop.stand.proxy.weather = Weather.CUT
    add = shop.plan(TEA)
    asking = asyncio.create_task(shop.send(add))
    await shop.until_in_outbox()
    await shop.stand.freeze(GATEWAYS[0])
    shop.stand.proxy.weather = Weather.FAIR
    # The other gateway sweeps the change up; the frozen one still holds it, with the time of its script.
    await shop.until_ok(again(add), gateway=1)
    await shop.until_publishing_is_too_late()
    await shop.stand.thaw(GATEWAYS[0])
    await asking
    await shop.do(Clear(), JAM)
    assert shop.lines(await shop.settled()) == {"jam": 1}


async def test_an_older_state_that_a_woken_worker_writes_is_answered_by_the_owner(shop: Shop) -> None:
    await shop.do(JAM)
    (older,) = (await shop.settled()).records[shop.cart.cart_id]
    await shop.do(TEA)
    await shop.settled()
    await shop.write_to_carts(older)
    # The last record of `carts` is what is kept: the owner must have written the newer state again.
    assert shop.lines(await shop.settled()) == {"jam": 1, "tea": 2}


async def test_an_order_whose_gateway_dies_is_placed_once_and_leaves_its_cart(shop: Shop) -> None:
    await shop.do(TEA)
    await shop.settled()
    checkout = shop.plan_checkout()
    await shop.stand.freeze("kafka")
    asking = asyncio.create_task(shop.run(checkout))
    # The order stands, its subtraction is in Redis and nowhere else.
    await shop.until_in_outbox()
    for gateway in GATEWAYS:
        await shop.stand.kill(gateway)
    await shop.stand.thaw("kafka")
    assert isinstance(await asking, Unknown)
    order = await shop.until_ordered(checkout, gateway=1)
    assert (order.seq, order.lines) == (1, {"tea": 2})
    assert shop.lines(await shop.settled()) == {}


async def test_an_order_that_redis_has_forgotten_is_not_placed_again(shop: Shop) -> None:
    await shop.do(TEA)
    replica = await shop.replica()
    await shop.order()
    # The agent would tell the replica of the order before the second checkout comes.
    await shop.stand.freeze("sink-redis")
    await shop.fail_over(replica)
    second = await shop.until_refused(shop.plan_checkout())
    await shop.stand.thaw("sink-redis")
    assert second.reason == "cart-empty"
    assert shop.lines(await shop.settled()) == {}


async def test_a_retry_of_an_add_that_was_ordered_puts_nothing_back(shop: Shop) -> None:
    await shop.do(JAM)
    replica = await shop.replica()
    add = shop.plan(TEA)
    await shop.until_ok(add)
    order = await shop.order()
    await shop.stand.freeze("sink-redis")
    await shop.fail_over(replica)
    await shop.until_ok(again(add))
    await shop.stand.thaw("sink-redis")
    assert order.lines == {"jam": 1, "tea": 2}
    assert shop.lines(await shop.settled()) == {}


async def test_an_add_while_an_order_is_on_its_way_stays(shop: Shop) -> None:
    await shop.do(TEA, JAM)
    await shop.settled()
    await shop.stand.freeze("compaction")
    order = await shop.order()
    await shop.do(Add("tea", 1, 350), Add("bun", 1, 80), Set("bun", 5))
    await shop.wipe()
    await shop.read()
    await shop.stand.thaw("compaction")
    assert order.lines == {"tea": 2, "jam": 1}
    assert shop.lines(await shop.settled()) == {"tea": 1, "bun": 5}


async def test_a_cancel_while_postgres_dies_gives_the_pieces_back_once(shop: Shop) -> None:
    names = await shop.stock(mug=3)
    await shop.do(Add(names["mug"], 2, price(names["mug"])))
    order = await shop.order()
    await shop.stand.kill("sink-mail")
    await asyncio.gather(shop.stand.kill("postgres"), *(shop.cancel(order.order_id) for _ in range(3)))
    sales = (await shop.settled()).sales
    assert sales.table[names["mug"]].stock == 3
    assert sales.cancellations.keys() >= {order.order_id}


async def test_redis_wiped_while_16_clients_write_loses_and_doubles_nothing(
    stand: Stand, tmp_path: Path
) -> None:
    plan = Plan(seed=-1, seconds=0, load=Load(clients=16, carts=24), acknowledged=400)
    report = await run(stand, plan, tmp_path, faults=[Fault(3.0, Kind.FLUSH, "redis", 0)])
    assert not report.violations, report.explain()
    assert report.outcomes[Outcome.ACKNOWLEDGED] >= 400


async def test_a_rolling_restart_under_load_fails_no_request(stand: Stand, tmp_path: Path) -> None:
    plan = Plan(seed=-3, seconds=0, load=Load(clients=8, carts=24))
    one_by_one = [Fault(0, Kind.RESTART, name, 0) for name in PROCESSES]
    async with Balancer(stand.gateways) as balancer:
        report = await run(stand, plan, tmp_path, one_by_one, pick=balancer.pick)
    assert not report.violations, report.explain()
    errands = {record.op for record in report.history if isinstance(record, order_records.Asked)}
    failed = [
        record
        for record in report.history
        if isinstance(record, Unknown | Fail)
        and not (isinstance(record, Fail) and record.reason in DECIDED)
        and not (record.op in errands and record.reason in WAITED)
    ]
    assert failed == []


async def test_a_short_schedule_of_faults_loses_and_doubles_nothing(stand: Stand, tmp_path: Path) -> None:
    plan = Plan(seed=2183, seconds=30, load=Load())
    report = await run(stand, plan, tmp_path, schedule(plan.seed, plan.seconds))
    assert not report.violations, report.explain()
    assert report.outcomes[Outcome.ACKNOWLEDGED] > 0
    assert report.checkouts[order_records.Outcome.ACKNOWLEDGED] > 0
