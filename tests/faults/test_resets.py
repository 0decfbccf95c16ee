"""Connections to every server are reset in the middle of anything, and all processes work again."""

from pathlib import Path

import pytest

from tests.faults.load_generator import Load
from tests.faults.run import Plan, run
from tests.faults.schedule import Fault, Kind
from tests.faults.testbed import Testbed
from tests.faults.topology import SERVERS, Topology

pytestmark = pytest.mark.drill


async def test_connections_that_are_reset_in_the_middle_of_anything_come_back(tmp_path: Path) -> None:
    plan = Plan(seed=-4, seconds=0, load=Load(clients=8, carts=24), acknowledged=200)
    faults = [Fault(2.0 + 7.0 * number, Kind.RESETS, server, 5.0) for number, server in enumerate(SERVERS)]
    async with Testbed(tmp_path / "testbed", Topology(proxied=SERVERS)) as testbed:
        report = await run(testbed, plan, tmp_path, faults)
    assert not report.violations, report.explain()
