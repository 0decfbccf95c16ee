"""A shorter run of the kill loop: nothing acknowledged is lost."""

from __future__ import annotations

import pytest

from tests.delivery.kill_loop import Experiment, kill_loop

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment("table", kills=6, rate=1000),
        Experiment("sink", kills=6, rate=1000),
        Experiment("table", kills=2, rate=1000, fault="lost-hand-over"),
        Experiment("table", kills=3, rate=1000, fault="slow-changelog"),
    ],
    ids=lambda e: "-".join(filter(None, (e.worker, e.fault))),
)
async def test_kill_9_under_load_loses_nothing(kafka_bootstrap: str, experiment: Experiment) -> None:
    outcome = await kill_loop(kafka_bootstrap, experiment)
    assert (outcome.lost, outcome.unlike_the_log) == (0, 0)
    assert outcome.clean_exit == 0
    if experiment.fault == "lost-hand-over":
        assert outcome.gaps > 0
