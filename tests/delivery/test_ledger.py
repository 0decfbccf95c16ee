"""What the ledger lets be committed, as records are handed out, finished, given up and acknowledged."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.contiguity import Admission
from delivery.ledger import Ledger, stop_if_refused

SOURCE = TP("source", 0)


@dataclass
class Record:
    """As much of Faust's message as the ledger looks at."""

    offset: int
    generation_id: int = 1
    tp: TP = SOURCE


@pytest.fixture
def ledger() -> Ledger:
    """One partition, assigned in generation 1 and committed up to offset 0."""
    made = Ledger()
    made.anchor(SOURCE, 1, 0)
    return made


def process(ledger: Ledger, *offsets: int) -> None:
    for offset in offsets:
        assert ledger.judge(Record(offset)) is Admission.PROCESS  # type: ignore[arg-type]
        ledger.finish(Record(offset))  # type: ignore[arg-type]


async def test_an_offset_is_committed_only_up_to_the_first_unacknowledged_changelog_record(
    ledger: Ledger,
) -> None:
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    process(ledger, 0)
    ledger.track(Record(1), first)  # type: ignore[arg-type]
    process(ledger, 1)
    ledger.track(Record(2), second)  # type: ignore[arg-type]
    process(ledger, 2, 3)
    assert ledger.committable() == {SOURCE: 1}
    second.set_result(None)
    assert ledger.committable() == {SOURCE: 1}
    first.set_result(None)
    assert ledger.committable() == {SOURCE: 4}
    ledger.committed({SOURCE: 4})
    assert ledger.committable() == {}


async def test_a_changelog_record_that_was_refused_holds_the_offset_back(ledger: Ledger) -> None:
    refused, cancelled = (asyncio.get_running_loop().create_future() for _ in range(2))
    ledger.track(Record(1), refused)  # type: ignore[arg-type]
    ledger.track(Record(2), cancelled)  # type: ignore[arg-type]
    process(ledger, 0, 1, 2, 3)
    for future in (refused, cancelled):
        future.remove_done_callback(stop_if_refused)
    # The callback ends the process in the loop's next turn; a commit may come in this one.
    refused.set_exception(RuntimeError("the broker refuses the record"))
    assert ledger.committable() == {SOURCE: 1}
    assert refused in ledger.unacknowledged([SOURCE])
    cancelled.cancel()
    assert ledger.committable() == {SOURCE: 1}


@settings(deadline=None)
@given(acknowledged=st.sets(st.integers(0, 9)), sending=st.sets(st.integers(0, 9)), done=st.integers(0, 10))
def test_no_commit_ever_passes_a_record_that_is_unprocessed_or_unacknowledged(
    acknowledged: set[int], sending: set[int], done: int
) -> None:
    async def check() -> None:
        ledger = Ledger()
        ledger.anchor(SOURCE, 1, 0)
        for offset in range(done):
            if offset in sending:
                future = asyncio.get_running_loop().create_future()
                ledger.track(Record(offset), future)  # type: ignore[arg-type]
                if offset in acknowledged:
                    future.set_result(None)
            process(ledger, offset)
        expected = min([done, *(offset for offset in sending - acknowledged if offset < done)])
        assert ledger.committable().get(SOURCE, 0) == expected

    asyncio.run(check())


async def test_records_that_were_given_up_are_not_committed_and_come_again(ledger: Ledger) -> None:
    process(ledger, 0)
    assert ledger.judge(Record(1)) is Admission.PROCESS  # type: ignore[arg-type]
    ledger.abandon(Record(1))  # type: ignore[arg-type]
    assert ledger.judge(Record(2)) is Admission.SEEK  # type: ignore[arg-type]
    process(ledger, 1, 2)
    assert ledger.committable() == {SOURCE: 3}


async def test_records_of_an_assignment_that_is_over_have_no_effect(ledger: Ledger) -> None:
    assert ledger.judge(Record(0)) is Admission.PROCESS  # type: ignore[arg-type]
    ledger.drop([SOURCE])
    ledger.anchor(SOURCE, 2, 0)
    ledger.finish(Record(0))  # type: ignore[arg-type]
    assert ledger.committable() == {}
    assert ledger.judge(Record(0)) is Admission.SKIP  # type: ignore[arg-type]
    assert ledger.judge(Record(0, generation_id=2)) is Admission.PROCESS  # type: ignore[arg-type]


async def test_settling_hands_out_nothing_more_and_waits_for_bodies_and_acknowledgements(
    ledger: Ledger,
) -> None:
    future = asyncio.get_running_loop().create_future()
    assert ledger.judge(Record(0)) is Admission.PROCESS  # type: ignore[arg-type]
    ledger.track(Record(0), future)  # type: ignore[arg-type]
    settling = asyncio.create_task(ledger.settle([SOURCE]))
    await asyncio.sleep(0)
    assert ledger.judge(Record(1)) is Admission.SKIP  # type: ignore[arg-type]
    ledger.finish(Record(0))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert not settling.done()
    future.set_result(None)
    await settling
    assert ledger.committable() == {SOURCE: 1}
