"""A shorter run of the kill loop: nothing acknowledged is lost, and without its guards it would be."""

from __future__ import annotations

import pytest

from tests.delivery.kill_loop import Experiment, kill_loop

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment("table", "memory", kills=6, rate=1000),
        Experiment("table", "rocksdict", kills=6, rate=1000),
        Experiment("sink", kills=6, rate=1000),
        Experiment("table", "memory", kills=2, rate=1000, fault="lost-hand-over"),
        Experiment("table", "rocksdict", kills=3, rate=1000, fault="slow-changelog"),
    ],
    ids=lambda e: "-".join(filter(None, (e.worker, e.store, e.fault))),
)
async def test_kill_9_under_load_loses_nothing(kafka_bootstrap: str, experiment: Experiment) -> None:
    outcome = await kill_loop(kafka_bootstrap, experiment)
    assert outcome.lost == 0
    assert outcome.clean_exit == 0
    if experiment.fault == "lost-hand-over":
        assert outcome.gaps > 0


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(kills=1, rate=1000, fault="lost-hand-over", without="contiguity"),
        Experiment(kills=2, rate=1000, fault="slow-changelog", without="acknowledgement"),
        Experiment(store="rocksdict", kills=3, rate=1000, fault="slow-changelog", without="clean-stop"),
    ],
    ids=lambda e: e.without,
)
async def test_without_this_guard_records_get_lost(kafka_bootstrap: str, experiment: Experiment) -> None:
    outcome = await kill_loop(kafka_bootstrap, experiment)
    assert outcome.lost > 0
