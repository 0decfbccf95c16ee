"""What was purged in a partition deletes no live cart when the partition comes back to a worker."""

from pathlib import Path

import pytest

from tests.faults.history import Add
from tests.faults.purges import FORGETFUL, TWO, purged_and_regained
from tests.faults.scenario import Scenario
from tests.faults.testbed import Testbed

pytestmark = [pytest.mark.drill, pytest.mark.timeout(400)]


async def test_a_live_cart_below_the_purge_floor_outlives_the_moves_of_its_partition(tmp_path: Path) -> None:
    async with (
        Testbed(tmp_path / "testbed", TWO, FORGETFUL) as testbed,
        Scenario(testbed, tmp_path / "scenario") as scenario,
    ):
        await scenario.do(Add("tea", 2, 350))
        await scenario.settled()
        await purged_and_regained(scenario)
        assert scenario.lines(await scenario.settled()) == {"tea": 2}
