"""The consumer to copy shows what GET shows of every cart, however often it and the product were killed."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.examples.shown import carts_of
from tests.examples.sqlite_consumer import Consumer
from tests.faults import order_records
from tests.faults.history import Clear, Command, Outcome, Remove, writes
from tests.faults.load_generator import Load
from tests.faults.run import Plan, Report, run
from tests.faults.schedule import Fault, Kind
from tests.faults.testbed import Testbed
from tests.support.waiting import until

pytestmark = [pytest.mark.consumers, pytest.mark.timeout(900)]

log = structlog.get_logger(__name__)

FAULTS = [
    Fault(2.0, Kind.KILL, "compaction", 0.0),
    Fault(5.0, Kind.KILL, "gateway", 0.0),
    Fault(8.0, Kind.STALE_WRITTEN, "redis", 3.0),
    Fault(14.0, Kind.KILL, "merges", 0.0),
    Fault(16.0, Kind.FLUSH, "redis", 0.0),
    Fault(20.0, Kind.KILL, "kafka", 0.0),
    Fault(25.0, Kind.KILL, "jobs", 0.0),
    Fault(27.0, Kind.FREEZE, "compaction", 3.0),
]
SOAK = Plan(seed=1411, seconds=30, load=Load(), acknowledged=2000)


async def test_after_orders_merges_erasures_and_kills_it_shows_what_get_shows_of_every_cart(
    tmp_path: Path,
) -> None:
    async with Testbed(tmp_path / "testbed") as testbed:
        bootstrap = testbed.urls.kafka_bootstrap
        killed = Consumer(bootstrap, tmp_path / "killed.sqlite")
        # What is there before it comes is in `carts` for it.
        warm = await run(testbed, Plan(seed=1410, seconds=0, load=Load(), acknowledged=300), tmp_path, [])
        async with killed.killed_again_and_again(SOAK.seed):
            soak = await run(testbed, SOAK, tmp_path, FAULTS)
        assert not warm.violations, warm.explain()
        assert not soak.violations, soak.explain()
        assert_had_everything(soak)
        assert killed.kills >= 5, killed.log.read_text()[-4000:]

        late = Consumer(bootstrap, tmp_path / "late.sqlite")
        async with killed.running(), late.running():
            shown = await carts_of(testbed)
            for consumer in (killed, late):
                await until(
                    partial(is_equal, consumer, shown), f"{consumer.log.name}: the carts of GET", every_s=1
                )
        print(f"{len(shown)} carts equal, {killed.kills} kills of the consumer")  # noqa: T201
        for consumer in (killed, late):
            assert "is passed over" not in consumer.log.read_text()


def assert_had_everything(soak: Report) -> None:
    """A load without orders, merges, erasures, removals and clears would show nothing."""
    done = [each for each in writes(soak.history) if each.outcome is Outcome.ACKNOWLEDGED]

    def count(kind: type[Command]) -> int:
        return sum(isinstance(command, kind) for each in done for command in each.commands)

    assert count(Remove)
    assert count(Clear)
    assert soak.checkouts[order_records.Outcome.ACKNOWLEDGED]
    assert soak.merges
    assert soak.erasures


def is_equal(consumer: Consumer, shown: dict[str, dict[str, Any]]) -> bool:
    """Whether the consumer has just these carts, each as GET shows it."""
    carts = consumer.carts()
    different = {
        cart_id for cart_id in shown.keys() | carts.keys() if shown.get(cart_id) != carts.get(cart_id)
    }
    for cart_id in sorted(different)[:1]:
        log.info("carts.differ", carts=len(different), get=shown.get(cart_id), consumer=carts.get(cart_id))
    return not different
