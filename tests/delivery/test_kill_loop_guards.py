"""A shorter run of the kill loop without one of its guards: then records get lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.delivery.kill_loop import Experiment, kill_loop

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(kills=1, rate=1000, fault="lost-hand-over", without="contiguity"),
        Experiment(kills=2, rate=1000, fault="slow-changelog", without="acknowledgement"),
        Experiment(kills=3, rate=1000, fault="slow-changelog", without="overlay"),
    ],
    ids=lambda e: e.without,
)
async def test_without_this_guard_records_get_lost(kafka_bootstrap: str, experiment: Experiment) -> None:
    # Whether a kill comes at the wrong moment is chance.
    for seed in range(3):
        if (await kill_loop(kafka_bootstrap, replace(experiment, seed=seed))).lost:
            return
    pytest.fail("nothing was lost in three runs")
