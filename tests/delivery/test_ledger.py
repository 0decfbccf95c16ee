"""What the ledger lets be committed, as runs are handed out, finished, given up and acknowledged."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import ConsumerRecord
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from delivery.contiguity import Admission
from delivery.ledger import Ledger, stop_if_refused
from delivery.runs import Run

SOURCE = TP("source", 0)


def run_of(*offsets: int, generation_id: int = 1) -> Run:
    """The records of the source with these offsets."""
    records = [
        ConsumerRecord(SOURCE.topic, SOURCE.partition, offset, 0, 0, b"k", b"v", None, 1, 1, ())
        for offset in offsets
    ]
    return Run(SOURCE, records, generation_id)


@pytest.fixture
def ledger() -> Ledger:
    """One partition, assigned in generation 1 and committed up to offset 0."""
    made = Ledger()
    made.anchor(SOURCE, 1, 0)
    return made


def process(ledger: Ledger, *offsets: int) -> None:
    for offset in offsets:
        assert ledger.start(run_of(offset)) is Admission.PROCESS
        ledger.finish(run_of(offset))


async def test_an_offset_is_committed_only_up_to_the_first_unacknowledged_changelog_record(
    ledger: Ledger,
) -> None:
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    process(ledger, 0)
    ledger.emitted(run_of(1), first)
    process(ledger, 1)
    ledger.emitted(run_of(2), second)
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
    ledger.emitted(run_of(1), refused)
    ledger.emitted(run_of(2), cancelled)
    process(ledger, 0, 1, 2, 3)
    for future in (refused, cancelled):
        future.remove_done_callback(stop_if_refused)
    # The callback ends the process in the loop's next turn; a commit may come in this one.
    refused.set_exception(RuntimeError("the broker refuses the record"))
    assert ledger.committable() == {SOURCE: 1}
    assert refused in ledger.unacknowledged([SOURCE])
    cancelled.cancel()
    assert ledger.committable() == {SOURCE: 1}


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
                ledger.emitted(run_of(offset), future)
                if offset in acknowledged:
                    future.set_result(None)
            process(ledger, offset)
        expected = min([done, *(offset for offset in sending - acknowledged if offset < done)])
        assert ledger.committable().get(SOURCE, 0) == expected

    asyncio.run(check())


async def test_records_that_were_given_up_are_not_committed_and_come_again(ledger: Ledger) -> None:
    process(ledger, 0)
    assert ledger.start(run_of(1)) is Admission.PROCESS
    ledger.abandon(run_of(1))
    assert ledger.start(run_of(2)) is Admission.SEEK
    process(ledger, 1, 2)
    assert ledger.committable() == {SOURCE: 3}


async def test_records_of_an_assignment_that_is_over_have_no_effect(ledger: Ledger) -> None:
    assert ledger.start(run_of(0)) is Admission.PROCESS
    ledger.drop([SOURCE])
    ledger.anchor(SOURCE, 2, 0)
    ledger.finish(run_of(0))
    assert ledger.committable() == {}
    assert ledger.start(run_of(0)) is Admission.SKIP
    assert ledger.start(run_of(0, generation_id=2)) is Admission.PROCESS


async def test_settling_hands_out_nothing_more_and_waits_for_bodies_and_acknowledgements(
    ledger: Ledger,
) -> None:
    future = asyncio.get_running_loop().create_future()
    assert ledger.start(run_of(0)) is Admission.PROCESS
    ledger.emitted(run_of(0), future)
    settling = asyncio.create_task(ledger.settle([SOURCE]))
    await asyncio.sleep(0)
    assert ledger.start(run_of(1)) is Admission.SKIP
    ledger.finish(run_of(0))
    await asyncio.sleep(0)
    assert not settling.done()
    future.set_result(None)
    await settling
    assert ledger.committable() == {SOURCE: 1}


async def test_who_works_on_a_run_learns_that_its_partition_is_given_up(ledger: Ledger) -> None:
    run = run_of(0)
    assert ledger.start(run) is Admission.PROCESS
    closing = asyncio.create_task(ledger.until_closing([run]))
    await asyncio.sleep(0)
    assert not closing.done()
    settling = asyncio.create_task(ledger.settle([SOURCE]))
    await closing
    assert not settling.done()
    ledger.abandon(run)
    await settling
    assert ledger.committable() == {}


async def test_who_works_on_a_run_learns_that_its_partition_is_lost(ledger: Ledger) -> None:
    run = run_of(0)
    assert ledger.start(run) is Admission.PROCESS
    closing = asyncio.create_task(ledger.until_closing([run]))
    await asyncio.sleep(0)
    ledger.drop([SOURCE])
    await closing


async def test_a_run_whose_head_was_seen_before_is_cut_to_what_is_new(ledger: Ledger) -> None:
    process(ledger, 0, 1)
    run = run_of(0, 1, 2, 3)
    assert ledger.start(run) is Admission.PROCESS
    assert ([record.offset for record in run.records], run.offset, run.end) == ([2, 3], 2, 4)
    ledger.finish(run)
    assert ledger.start(run_of(1, 2, 3)) is Admission.SKIP
    assert ledger.committable() == {SOURCE: 4}


async def test_a_run_is_cut_before_a_hole_that_the_broker_has_not_shown(ledger: Ledger) -> None:
    ledger.partitions[SOURCE].contiguity.answered()
    run = run_of(0, 1, 4, 5)
    assert ledger.start(run) is Admission.PROCESS
    assert [record.offset for record in run.records] == [0, 1]
    assert ledger.start(run_of(4, 5)) is Admission.SEEK
    ledger.partitions[SOURCE].contiguity.absent(2, 4)
    assert ledger.start(run_of(4, 5)) is Admission.PROCESS


async def test_nothing_of_a_run_is_committed_before_all_its_batches_are_acknowledged(ledger: Ledger) -> None:
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
    run = run_of(0, 1, 2)
    assert ledger.start(run) is Admission.PROCESS
    ledger.emitted(run, first)
    ledger.emitted(run, second)
    ledger.finish(run)
    first.set_result(None)
    assert ledger.committable() == {}
    second.set_result(None)
    assert ledger.committable() == {SOURCE: 3}
