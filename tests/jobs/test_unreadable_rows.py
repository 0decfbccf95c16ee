"""Rows that nobody can read: each is in the log once while it stays so, and counted; memory has a bound."""

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from jobs import unreadable_rows
from jobs.unreadable_rows import UnreadableRows

JOB = "a-job"
EVENT = "a-job.row_unreadable"


def round_of(rows: UnreadableRows, *keys: str) -> tuple[list[str], float | None]:
    """Whom the log names in a round that meets these rows, and what the gauge says afterwards."""
    with capture_logs() as logs:
        for key in keys:
            rows.met(key, "why", cart_id=key)
        rows.end_round()
    assert all((entry["event"], entry["error"]) == (EVENT, "why") for entry in logs)
    return [entry["cart_id"] for entry in logs], REGISTRY.get_sample_value(
        "cartstream_jobs_unreadable_rows", {"job": JOB}
    )


def test_a_row_is_named_once_and_again_only_when_it_could_be_read_meanwhile() -> None:
    rows = UnreadableRows(JOB, EVENT)
    assert round_of(rows, "a", "b") == (["a", "b"], 2)
    assert round_of(rows, "a", "b", "c") == (["c"], 3)
    assert round_of(rows, "b") == ([], 1)
    assert round_of(rows, "a", "b") == (["a"], 2)
    assert round_of(rows) == ([], 0)


def test_a_round_that_failed_names_nobody_twice() -> None:
    rows = UnreadableRows(JOB, EVENT)
    rows.met("a", "why", cart_id="a")
    assert round_of(rows, "a", "b") == (["b"], 2)


def test_no_more_are_remembered_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreadable_rows, "MOST", 2)
    rows = UnreadableRows(JOB, EVENT)
    assert round_of(rows, "a", "b", "c") == (["a", "b"], 2)
    assert round_of(rows, "a", "b", "c") == ([], 2)
    assert round_of(rows, "b", "c") == (["c"], 2)
