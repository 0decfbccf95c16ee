"""Whatever is delivered in whatever order, the records of the log are processed once each and in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.contiguity import Admission, Contiguity, OutsideLog, holes, starting_point

logs = st.sets(st.integers(0, 60), min_size=1).map(sorted)


@given(log=logs, data=st.data())
def test_losses_and_repetitions_change_nothing_about_what_is_processed(
    log: list[int], data: st.DataObject
) -> None:
    contiguity = Contiguity(0)
    processed: list[int] = []
    position, sought, rounds = 0, None, 0
    while len(processed) < len(log):
        rounds += 1
        size = data.draw(st.integers(1, 8))
        answer = [offset for offset in log if offset >= position][:size]
        for start, end in holes(answer, sought):
            contiguity.absent(start, end)
        contiguity.answered()
        sought = None
        position = answer[-1] + 1 if answer else position
        # After enough faults the network is kind, or the test would not end.
        length = data.draw(st.integers(1, 4))
        for run in (answer[start : start + length] for start in range(0, len(answer), length)):
            if rounds < 20 and data.draw(st.booleans()):
                continue
            admission, start, stop = contiguity.judge_run(run)
            match admission:
                case Admission.PROCESS:
                    processed += run[start:stop]
                case Admission.SEEK:
                    contiguity.sought()
                    position = sought = contiguity.expected
                case Admission.SKIP:
                    pass
        if not answer or (rounds < 20 and data.draw(st.booleans())):
            # A restart of the flow, or the end of the log was lost: what nobody has seen is fetched again.
            contiguity.sought()
            position = sought = contiguity.expected
    assert processed == log


@given(log=logs)
def test_an_undisturbed_compacted_log_is_processed_without_a_single_seek(log: list[int]) -> None:
    contiguity = Contiguity(0)
    contiguity.sought()
    for start, end in holes(log, 0):
        contiguity.absent(start, end)
    contiguity.answered()
    assert [contiguity.judge(offset) for offset in log] == [Admission.PROCESS] * len(log)


@given(data=st.data())
def test_a_run_is_judged_as_its_records_are_one_by_one(data: st.DataObject) -> None:
    offsets = st.integers(0, 25)
    of_runs, of_records = Contiguity(0), Contiguity(0)
    for start, end in data.draw(st.lists(st.tuples(offsets, offsets).map(sorted), max_size=8)):
        of_runs.absent(start, end)
        of_records.absent(start, end)
    for run in data.draw(st.lists(st.sets(offsets, min_size=1, max_size=8).map(sorted), max_size=12)):
        _, start, stop = of_runs.judge_run(run)
        admissions = [of_records.judge(offset) for offset in run[:stop]]
        assert admissions == [Admission.SKIP] * start + [Admission.PROCESS] * (stop - start)
        assert of_runs.expected == of_records.expected
        if start < stop < len(run):
            assert of_records.judge(run[stop]) is not Admission.PROCESS


class EveryHoleLookedAt(Contiguity):
    """Looks at all holes for every record: slow, and plain to see that it is right."""

    def judge(self, offset: int) -> Admission:
        """As it was before holes were kept in order."""
        admission = super().judge(offset)
        if admission is Admission.PROCESS:
            self._holes = {end: start for end, start in self._holes.items() if end > offset}
            self._ends = []
        return admission


@given(data=st.data())
def test_the_holes_that_are_forgotten_are_those_that_were_passed(data: st.DataObject) -> None:
    offsets = st.integers(0, 25)
    fast, plain = Contiguity(0), EveryHoleLookedAt(0)
    for _ in range(data.draw(st.integers(1, 40))):
        match data.draw(
            st.sampled_from(["judge", "judge", "judge", "absent", "sought", "answered", "rewind"])
        ):
            case "judge":
                offset = data.draw(st.just(fast.expected) | offsets)
                assert fast.judge(offset) is plain.judge(offset)
            case "absent":
                start, end = sorted((data.draw(offsets), data.draw(offsets)))
                fast.absent(start, end)
                plain.absent(start, end)
            case "sought":
                fast.sought()
                plain.sought()
            case "answered":
                fast.answered()
                plain.answered()
            case "rewind":
                offset = data.draw(st.integers(0, fast.expected))
                fast.rewind(offset)
                plain.rewind(offset)
        assert fast.expected == plain.expected
        assert fast._holes == plain._holes  # noqa: SLF001
        assert sorted(fast._ends) == sorted(fast._holes)  # noqa: SLF001


def test_a_record_costs_the_same_however_many_holes_are_ahead() -> None:
    contiguity = Contiguity(0)
    known = contiguity._holes  # noqa: SLF001
    log = range(0, 2000, 2)
    for start, end in holes(log, 0):
        contiguity.absent(start, end)
    assert [contiguity.judge(offset) for offset in log] == [Admission.PROCESS] * len(log)
    # All of them are forgotten, one by one: they were never copied.
    assert contiguity._holes is known  # noqa: SLF001
    assert not known


def test_a_record_lost_before_a_hole_is_not_taken_for_part_of_the_hole() -> None:
    contiguity = Contiguity(10)
    for start, end in holes([10, 15], None):
        contiguity.absent(start, end)
    assert contiguity.judge(15) is Admission.SEEK
    assert contiguity.expected == 10


def test_a_gap_between_two_answers_is_sought_once_and_believed_when_the_broker_repeats_it() -> None:
    contiguity = Contiguity(5)
    assert contiguity.judge(8) is Admission.SEEK
    contiguity.sought()
    assert contiguity.judge(9) is Admission.SKIP
    for start, end in holes([8, 9], 5):
        contiguity.absent(start, end)
    contiguity.answered()
    assert [contiguity.judge(8), contiguity.judge(9)] == [Admission.PROCESS, Admission.PROCESS]


@pytest.mark.parametrize(
    ("committed", "first", "end", "start", "outside"),
    [
        (None, 0, 10, 0, None),
        (None, 5, 10, 5, None),
        (7, 5, 10, 7, None),
        (5, 5, 10, 5, None),
        (10, 5, 10, 10, None),
        (10, 10, 10, 10, None),
        (11, 5, 10, 5, OutsideLog.BEYOND_END),
        (1000, 0, 0, 0, OutsideLog.BEYOND_END),
        (4, 5, 10, 5, OutsideLog.REMOVED),
        (0, 5, 5, 5, OutsideLog.REMOVED),
    ],
)
def test_reading_begins_at_the_committed_offset_if_the_log_has_it(
    committed: int | None, first: int, end: int, start: int, outside: OutsideLog | None
) -> None:
    assert starting_point(committed, first, end) == (start, outside)


def test_records_given_up_are_expected_again() -> None:
    contiguity = Contiguity(0)
    assert [contiguity.judge(offset) for offset in (0, 1, 2)] == [Admission.PROCESS] * 3
    contiguity.rewind(1)
    assert contiguity.judge(3) is Admission.SEEK
    assert contiguity.judge(1) is Admission.PROCESS
