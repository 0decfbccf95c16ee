"""How records become runs: bounded, in order, and each partition in turn."""

from __future__ import annotations

from aiokafka import ConsumerRecord
from faust.types import TP

from delivery.runs import RunLimits, RunScheduler, cut_into_runs

LEFT, RIGHT = TP("source", 0), TP("source", 1)


def records(count: int, size: int = 1) -> list[ConsumerRecord]:
    """So many records with values of that size."""
    return [
        ConsumerRecord("source", 0, offset, 0, 0, b"k", b"v" * size, None, 1, size, ())
        for offset in range(count)
    ]


def lengths(count: int, size: int, limits: RunLimits) -> list[int]:
    """How long the runs are; nothing is lost and the order stays."""
    made = records(count, size)
    runs = list(cut_into_runs(made, limits))
    assert [record for run in runs for record in run] == made
    return [len(run) for run in runs]


def test_a_run_has_a_bound_of_records_and_of_bytes() -> None:
    assert lengths(25, 1, RunLimits(records=10)) == [10, 10, 5]
    assert lengths(5, 30, RunLimits(size=100)) == [3, 2]
    assert lengths(0, 1, RunLimits()) == []


def test_a_record_larger_than_a_run_passes_alone() -> None:
    assert lengths(3, 200, RunLimits(size=100)) == [1, 1, 1]


def test_a_tombstone_has_no_bytes() -> None:
    tombstone = ConsumerRecord("source", 0, 0, 0, 0, b"k", None, None, 1, -1, ())
    assert list(cut_into_runs([tombstone], RunLimits())) == [[tombstone]]


def test_the_backlog_of_a_partition_keeps_no_other_one_waiting() -> None:
    scheduler = RunScheduler(RunLimits(records=10))
    turns = [tp for tp, _ in scheduler.iterate({LEFT: records(40), RIGHT: records(15)})]
    assert turns == [LEFT, RIGHT, LEFT, RIGHT, LEFT, LEFT]


def test_after_some_records_the_next_look_is_later_and_neither_after_none_nor_after_a_backlog() -> None:
    limits = RunLimits(records=10, linger_s=0.1)
    lingers = [limits.lingers_after([records(found)], 1 << 20) for found in (0, 1, 9, 10)]
    assert lingers == [False, True, True, False]
    assert not limits.lingers_after([], 1 << 20)
    assert not limits.lingers_after([records(5), records(5)], 1 << 20)
    assert not RunLimits(records=10).lingers_after([records(1)], 1 << 20)


def test_few_records_are_a_backlog_when_they_nearly_fill_what_is_fetched_of_a_partition() -> None:
    limits = RunLimits(linger_s=0.1)
    assert limits.lingers_after([records(2, 200), records(2, 200)], 1000)
    assert not limits.lingers_after([records(1), records(3, 200)], 1000)
