"""Which rows may leave the outbox: whatever failed, the last record of a key is its newest."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.outbox_relay import RelayOutcome, removable
from store.postgres.outbox import OutboxRecord, OutboxRow

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
