"""The connector to copy has what GET shows of every cart, after kills of it, the product and the servers."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.examples.connect_worker import ConnectWorker, Warehouse, has_changed
from tests.examples.shown import carts_of, shown_by_both
from tests.faults.load_generator import Load
from tests.faults.run import Plan, run
from tests.faults.schedule import Fault, Kind
from tests.faults.testbed import Testbed
from tests.support.databases import empty_database
from tests.support.waiting import until
from topics.registry import CARTS

log = structlog.get_logger(__name__)

pytestmark = [pytest.mark.consumers, pytest.mark.timeout(900)]

KILLS = 2
WHILE_IT_IS_KILLED = [
    Fault(4.0, Kind.KILL, "compaction", 0.0),
    Fault(8.0, Kind.FLUSH, "redis", 0.0),
]
WHILE_IT_RUNS = [
    Fault(2.0, Kind.KILL, "postgres", 0.0),
    Fault(8.0, Kind.KILL, "kafka", 0.0),
]
FIRST = Plan(seed=1412, seconds=30, load=Load(), acknowledged=1500)
SECOND = Plan(seed=1413, seconds=12, load=Load(), acknowledged=500)


async def test_after_orders_merges_erasures_and_kills_it_has_what_get_shows_of_every_cart(
    tmp_path: Path,
) -> None:
    async with Testbed(tmp_path / "testbed") as testbed:
        with empty_database(testbed.urls.postgres) as url:
            warehouse = Warehouse(url)
            connect = ConnectWorker(testbed.urls.kafka_bootstrap, CARTS.name, warehouse, tmp_path)
            try:
                async with asyncio.TaskGroup() as meanwhile:
                    first = meanwhile.create_task(run(testbed, FIRST, tmp_path, WHILE_IT_IS_KILLED))
                    meanwhile.create_task(kill_and_let_run(connect, warehouse))
                await until_equal(testbed, connect, warehouse)
                connect.assert_no_failure()
                second = await run(testbed, SECOND, tmp_path, WHILE_IT_RUNS)
                await until_equal(testbed, connect, warehouse)
            finally:
                connect.kill()
        reports = (first.result(), second)
        for report in reports:
            assert not report.violations, report.explain()
        # The second one is short: on a busy machine it has no erasure.
        assert sum(report.merges for report in reports)
        assert sum(report.erasures for report in reports)


async def kill_and_let_run(connect: ConnectWorker, warehouse: Warehouse) -> None:
    """Kill -9 the worker some times, each time when it has written something; then let it run."""
    for _ in range(KILLS):
        before = await asyncio.to_thread(warehouse.rows)
        connect.launch()
        await until(partial(asyncio.to_thread, has_changed, connect, warehouse, before), "rows", 300, 0.2)
        connect.kill()
    connect.launch()


async def until_equal(testbed: Testbed, connect: ConnectWorker, warehouse: Warehouse) -> None:
    """Returns once the table has just the carts of GET."""
    shown = await carts_of(testbed)
    equal = partial(asyncio.to_thread, is_equal, connect, warehouse, shown)
    await until(equal, "the carts of GET", 300, 1)
    print(f"{len(shown)} carts equal")  # noqa: T201


def is_equal(connect: ConnectWorker, warehouse: Warehouse, shown: dict[str, dict[str, Any]]) -> bool:
    """Whether the table has just these carts, each as GET shows it; a task that has ended starts again."""
    connect.restart_what_failed()
    carts = {cart_id: shown_by_both(cart) for cart_id, (*_, cart) in warehouse.rows().items()}
    different = {
        cart_id for cart_id in shown.keys() | carts.keys() if shown.get(cart_id) != carts.get(cart_id)
    }
    for cart_id in sorted(different)[:1]:
        log.info("carts.differ", carts=len(different), get=shown.get(cart_id), row=carts.get(cart_id))
    return not different
