"""Which rows may leave the outbox: whatever failed, the last record of a key is its newest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.outbox_relay import RelayOutcome, is_no_larger_than_others, removable
from store.postgres.outbox import OutboxRecord, OutboxRow
from topics.registry import CART_CHANGED, ORDERS, TopicSpec

OUTCOMES = st.sampled_from([None, *RelayOutcome])


def rows(keys: list[str]) -> list[OutboxRow]:
    """A row for each key, numbered from 1."""
    return [OutboxRow(number, OutboxRecord("orders", key, b"", [])) for number, key in enumerate(keys, 1)]


def test_what_is_acknowledged_goes() -> None:
    assert removable(rows(["a", "b"]), {1: RelayOutcome.ACKNOWLEDGED, 2: RelayOutcome.ACKNOWLEDGED}) == [1, 2]


def test_a_record_waits_for_the_earlier_one_of_its_key_but_not_for_others() -> None:
    outcomes = {1: RelayOutcome.FAILED, 2: RelayOutcome.ACKNOWLEDGED, 3: RelayOutcome.ACKNOWLEDGED}
    assert removable(rows(["a", "a", "b"]), outcomes) == [3]


def test_a_record_that_nobody_takes_does_not_keep_the_next_one_of_its_key() -> None:
    assert removable(rows(["a", "a"]), {1: RelayOutcome.DEAD_LETTER, 2: RelayOutcome.ACKNOWLEDGED}) == [1, 2]


def test_what_may_have_been_overtaken_makes_the_later_ones_go_again() -> None:
    assert removable(rows(["a", "a"]), {1: RelayOutcome.LATE, 2: RelayOutcome.ACKNOWLEDGED}) == [1]


@given(st.lists(st.tuples(st.sampled_from("ab"), OUTCOMES), max_size=12))
def test_sent_again_until_the_outbox_is_empty_the_newest_of_a_key_is_last(
    attempts: list[tuple[str, RelayOutcome | None]],
) -> None:
    """One round with these outcomes, then one in which all goes well."""
    waiting = rows([key for key, _ in attempts])
    outcomes = {
        row.outbox_id: outcome for row, (_, outcome) in zip(waiting, attempts, strict=True) if outcome
    }
    took = [row for row in waiting if outcomes.get(row.outbox_id) is RelayOutcome.ACKNOWLEDGED]
    late = [row for row in waiting if outcomes.get(row.outbox_id) is RelayOutcome.LATE]
    gone = set(removable(waiting, outcomes))
    log = took + late + [row for row in waiting if row.outbox_id not in gone]
    for key in "ab":
        published = [row.outbox_id for row in waiting if row.record.key == key]
        published = [
            number
            for number in published
            if outcomes.get(number) is not RelayOutcome.DEAD_LETTER or number not in gone
        ]
        last = [row.outbox_id for row in log if row.record.key == key]
        assert (last[-1] if last else None) == (published[-1] if published else None)


@pytest.mark.parametrize(
    ("topic", "size", "waits"),
    [(CART_CHANGED, 300, True), (CART_CHANGED, CART_CHANGED.max_message_bytes, False), (ORDERS, 300, False)],
)
def test_a_small_change_that_is_refused_as_too_large_waits_for_its_topic_to_be_opened(
    topic: TopicSpec, size: int, *, waits: bool
) -> None:
    assert is_no_larger_than_others(OutboxRecord(topic.name, "a", b"x" * size, [])) is waits
