"""An erased cart holds nothing of before, and nothing of before comes back."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from carts.content import Content
from carts.fold import Outcome, Verdict, fold
from carts.operations import Change, Erase, Item, Set, SetMetadata, Step, Subtract
from carts.ordering import knows_order
from carts.state import State, Status, uncovered, union
from tests.carts.histories import CART, TIMING, add, change, changes, folded, quantities, state_of, subtract

SECRET = "Ada Lovelace"


def erase(v: int) -> Change:
    """The erasure of everything up to `v`."""
    return Change(cart_id=CART, version=v, op_id=f"!erase/{v}", delta=(Erase(),))


def erased(state: State | None, v: int) -> State:
    """`state` after its erasure."""
    after = fold(state, erase(v), timing=TIMING).state
    assert after is not None
    return after


def _later(step: Step, by: int) -> Step:
    """The step of an order as of a snapshot that is later by so much."""
    if not isinstance(step, Subtract):
        return step
    return msgspec.structs.replace(step, snapshot_version=step.snapshot_version + by)


@given(changes(), changes())
def test_what_was_there_is_forgotten_and_what_is_newer_stays(
    before: list[Change], later: list[Change]
) -> None:
    known = folded(before)
    assert known is not None
    v = known.version_number + 1
    after = [
        msgspec.structs.replace(
            each,
            version=each.version + v + 1,
            op_id=f"later-{each.op_id}",
            delta=tuple(_later(step, v + 1) for step in each.delta),
        )
        for each in later
    ]
    alone = folded(after, erased(None, v))
    both = folded([*before, erase(v), *after])
    assert alone is not None
    assert both is not None
    assert both.content() == alone.content()
    assert both.ops == alone.ops
    assert (both.base, both.floor, both.erased) == (alone.base, alone.floor, alone.erased)


@given(changes(), st.randoms(use_true_random=False))
def test_late_and_repeated_deliveries_bring_nothing_back(made: list[Change], chance: object) -> None:
    state = erased(folded(made[: len(made) // 2]), made[-1].version + 1)
    late = list(made)
    chance.shuffle(late)  # type: ignore[attr-defined]
    for each in late:
        assert fold(state, each, timing=TIMING) == Outcome(state, Verdict.BELOW_FLOOR)
    assert fold(state, erase(state.erased), timing=TIMING) == Outcome(state, Verdict.KNOWN)


@given(changes())
def test_no_older_state_is_put_over_an_erasure(made: list[Change]) -> None:
    old = folded(made)
    assert old is not None
    new = erased(old, old.version_number + 1)
    assert uncovered(new, [(op.version, op.op_id) for op in old.ops]) == []
    assert uncovered(old, [(op.version, op.op_id) for op in new.ops]) != []


def test_text_of_the_shopper_is_nowhere_in_the_state() -> None:
    said = Set("x", 1, 100, "EUR", Item("x", {"engraving": SECRET}), {"note": SECRET})
    old = state_of(
        change(20, "a", said, SetMetadata({"name": SECRET})),
        change(300, "b", add("y", 1), SetMetadata({"name": SECRET}, "x")),
    )
    assert SECRET in msgspec.json.encode(old).decode()
    new = erased(old, 301)
    assert SECRET not in msgspec.json.encode(new).decode()
    assert (new.content(), new.status, new.born) == (Content(cleared_version=300), Status.ACTIVE, old.born)
    assert (new.version_number, new.operation_count) == (301, old.operation_count + 1)


def test_a_write_that_the_erasure_did_not_know_of_stays() -> None:
    old = state_of(change(20, "a", add("x", 1)), change(40, "b", add("y", 2)))
    new = erased(old, 31)
    assert quantities(new) == {"y": 2}
    assert new.version_number == 40
    assert new.operation_count == old.operation_count + 1


def test_an_erasure_that_comes_after_the_floor_has_passed_it_erases_all_the_same() -> None:
    old = state_of(change(20, "a", SetMetadata({"name": SECRET})), change(300, "b", add("y", 2)))
    new = erased(old, 31)
    assert SECRET not in msgspec.json.encode(new).decode()
    assert quantities(new) == {"y": 2}
    assert new.floor == old.floor


def test_an_absent_cart_is_erased_too_for_its_changes_may_be_on_their_way() -> None:
    new = erased(None, 31)
    assert fold(new, change(20, "a", add("x", 1)), timing=TIMING).verdict is Verdict.BELOW_FLOOR
    assert fold(None, erase(31), purge_floor=40).verdict is Verdict.KNOWN
    assert erased(None, 31).born == 0


def test_a_copy_that_knows_of_the_erasure_wins_over_one_that_does_not() -> None:
    old = state_of(change(20, "a", add("x", 1)))
    new = erased(old, 31)
    gone_on = folded([change(300, "b", add("y", 2))], old)
    assert gone_on is not None
    assert gone_on.floor > new.floor
    assert quantities(union(new, gone_on)) == {"y": 2}
    assert union(new, gone_on) == union(gone_on, new)


def test_an_order_of_before_takes_nothing_out_of_what_was_added_since() -> None:
    old = state_of(change(20, "a", add("x", 2)))
    since = folded([change(40, "b", add("x", 3))], erased(old, 31))
    assert since is not None
    ordered = folded([subtract(50, "s", old)], since)
    assert ordered is not None
    assert quantities(ordered) == {"x": 3}
    assert knows_order(ordered, 20)
