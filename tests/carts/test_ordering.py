"""What a checkout decides: lines, snapshots, subtractions in time and late, completes of somebody else's."""

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from carts.fold import fold
from carts.operations import Change, Expire, OrderedLine, Remove, Subtract
from carts.ordering import (
    knows_order,
    leaving,
    lines_to_order,
    may_follow,
    may_subtract,
    may_unite,
    rebase,
    renewed,
    subtracted,
    subtraction,
    subtraction_base,
)
from carts.state import State, effective
from tests.carts.histories import (
    CART,
    TIMING,
    add,
    change,
    changes,
    put,
    quantities,
    state_of,
    subtract,
)

WINDOW = 2 * TIMING.window_us


def in_redis(base: State, order: Change) -> State:
    """What Redis holds after an order has been subtracted from `base`, as late as the order's v says."""
    delta = renewed(order.delta, base, order.version, leaving(base, order.version, TIMING))
    return subtracted(base, msgspec.structs.replace(order, delta=delta).operation(), TIMING)


def step_of(order: Change) -> Subtract:
    """The order's step."""
    (step,) = order.delta
    assert isinstance(step, Subtract)
    return step


def has_order(made: list[Change]) -> bool:
    """Whether an order is among the changes: another could follow it only by the rules of checkout."""
    return any(isinstance(step, Subtract) for each in made for step in each.delta)


# In time


@given(changes())
def test_an_order_takes_out_everything_its_snapshot_shows(made: list[Change]) -> None:
    snapshot = state_of(*made)
    bought = {line.line_id for line in lines_to_order(snapshot)}
    left = quantities(state_of(*made, subtract(snapshot.version_number + 2, "s", snapshot)))
    assert not bought & set(left)


@given(changes(), st.integers(1, 9))
def test_what_is_added_after_the_snapshot_stays(made: list[Change], pieces: int) -> None:
    snapshot = state_of(*made)
    assume(all(quantity > 0 for quantity in quantities(snapshot).values()))
    later = change(snapshot.version_number + 2, "later", add("x", pieces))
    after = state_of(*made, later, subtract(snapshot.version_number + 4, "s", snapshot))
    assert quantities(after) == {"x": pieces}


@given(changes(), st.integers(1, 9))
def test_a_line_that_is_decided_after_the_snapshot_is_left_alone(made: list[Change], pieces: int) -> None:
    snapshot = state_of(*made)
    later = change(snapshot.version_number + 2, "later", put("x", pieces))
    after = state_of(*made, later, subtract(snapshot.version_number + 4, "s", snapshot))
    assert quantities(after)["x"] == pieces


@given(changes())
def test_redis_and_the_fold_subtract_the_same(made: list[Change]) -> None:
    snapshot = state_of(*made)
    order = subtract(snapshot.version_number + 2, "s", snapshot)
    assert in_redis(snapshot, order) == state_of(*made, order)


def test_lines_are_ordered_with_the_version_that_decided_them() -> None:
    state = state_of(change(20, "a", add("x", 2)), change(22, "b", put("y", 3)), change(24, "c", add("y", 1)))
    assert lines_to_order(state) == (OrderedLine("x", 2, 0), OrderedLine("y", 4, 22))


def test_a_snapshot_follows_an_order_that_it_knows() -> None:
    snapshot = state_of(change(20, "a", add("x", 2)))
    ordered = state_of(change(20, "a", add("x", 2)), subtract(24, "s", snapshot))
    assert not may_follow(snapshot, snapshot.version_number)
    assert may_follow(ordered, snapshot.version_number)


def test_a_cart_born_after_the_order_need_not_know_it() -> None:
    reborn = fold(None, change(80, "a", add("x", 2)), purge_floor=60, timing=TIMING).state
    assert reborn is not None
    assert knows_order(reborn, 60)
    assert not knows_order(reborn, 61)


def test_an_order_is_subtracted_only_from_a_living_record_that_is_not_behind_it() -> None:
    first, second = change(20, "a", add("x", 2)), change(24, "b", add("x", 1))
    snapshot = state_of(first, second)
    delta = subtraction("s", lines_to_order(snapshot), snapshot)
    expired = state_of(first, second, Change(cart_id=CART, version=0, op_id="!", delta=(Expire(24, 2, 90),)))
    assert may_subtract(snapshot, delta)
    assert not may_subtract(None, delta)
    assert not may_subtract(expired, delta)
    assert not may_subtract(state_of(first), delta)


def test_an_order_is_not_subtracted_from_a_record_of_the_same_version_that_lacks_something() -> None:
    first, second = change(20, "a", add("x", 2)), change(24, "b", add("x", 1))
    snapshot, behind = state_of(first, second), state_of(second)
    assert behind.version_number == snapshot.version_number
    assert not may_subtract(behind, subtraction("s", lines_to_order(snapshot), snapshot))


def test_of_redis_only_what_the_folded_record_lacks_is_added_to_it() -> None:
    first, second = change(20, "a", add("x", 2)), change(24, "b", add("x", 1))
    base = subtraction_base(state_of(first), state_of(second))
    assert base.content() == state_of(first, second).content()
    assert subtraction_base(state_of(first), None) == state_of(first)


def test_a_record_that_is_behind_has_what_has_left_the_window_of_redis_or_is_not_united_with_it() -> None:
    first, second = change(20, "a", add("x", 2)), change(24, "b", add("x", 1))
    third = change(24 + 2 * WINDOW + 2, "c", add("x", 4))
    copy = state_of(first, second, third)
    assert [op.op_id for op in copy.ops] == ["c"]
    assert not may_unite(state_of(first), copy)
    assert not may_unite(State(), copy)
    assert may_unite(state_of(first, second), copy)
    assert may_unite(state_of(first, third), copy)  # what it lacks was never folded
    assert may_unite(copy, state_of(first))
    assert may_unite(state_of(first), None)
    assert may_unite(state_of(first), state_of(first, second))


def test_an_order_known_by_its_id_is_not_taken_from_redis_once_more() -> None:
    first = change(20, "a", add("x", 2))
    order = subtract(24, "s", state_of(first))
    later = change(24 + 2 * WINDOW, "b", add("x", 5))
    behind = state_of(first, order, later)
    assert knows_order(behind, 20)
    assert [op.op_id for op in behind.ops] == ["b"]
    once_more = state_of(first, later, subtract(later.version + 2, "s", state_of(first)))
    assert quantities(subtraction_base(behind, once_more)) == {"x": 5}


# Late: operations that the order bought have been born again meanwhile


@given(changes(), st.integers(0, 3), st.integers(0, 3 * WINDOW))
def test_nothing_is_renewed_as_long_as_nothing_was_born_again(
    made: list[Change], bought: int, later: int
) -> None:
    assume(len({each.op_id for each in made}) == len(made))
    snapshot, base = state_of(*made[: bought + 1]), state_of(*made)
    v = base.version_number + 2 + 2 * later
    delta = subtract(v, "s", snapshot).delta
    assert renewed(delta, base, v, leaving(base, v, TIMING)) == delta


@given(changes(), st.integers(0, 8), st.integers(0, 2 * WINDOW))
def test_a_renewed_order_takes_no_more_than_was_ordered_and_leaves_no_line_negative(
    made: list[Change], bought: int, later: int
) -> None:
    assume(not has_order(made))
    snapshot, base = state_of(*made[: bought + 1]), state_of(*made)
    order = subtract(base.version_number + 2 + 2 * later, "s", snapshot)
    asked = {line.line_id: line.quantity for line in step_of(order).lines}
    after = in_redis(base, order)
    (step,) = (
        step for op in after.ops for step in op.delta if isinstance(step, Subtract) and step.order_id == "s"
    )
    assert all(0 < line.quantity <= asked[line.line_id] for line in step.lines)
    assert {attempt.op_id for attempt in step.attempts} == {
        attempt.op_id for attempt in step_of(order).attempts
    }
    assert all(quantity > 0 for quantity in quantities(after).values())


def reborn(*steps: object) -> tuple[State, State, list[Change]]:
    """A snapshot; its cart after operation b was born again and the first attempt has left; all changes."""
    first, second = change(20, "a", add("x", 1)), change(30, "b", *steps)
    again, later = change(60, "b", *steps), change(30 + WINDOW + 2, "c", add("y", 7))
    made = [first, second, again, later]
    state = state_of(*made)
    assert 30 <= state.floor < 60
    return state_of(first, second), state, made


def test_an_order_names_the_attempt_that_counts_now() -> None:
    snapshot, state, made = reborn(add("x", 4))
    order = subtract(state.version_number + 2, "s", snapshot)
    after = state_of(*made, order)
    assert quantities(after) == {"y": 7}
    assert {op.op_id: op.version for op in effective(after.ops)}["b"] == 60
    assert in_redis(state, order) == after


def test_a_line_that_was_set_again_is_still_taken_out() -> None:
    snapshot, state, made = reborn(put("x", 4))
    order = subtract(state.version_number + 2, "s", snapshot)
    assert quantities(state_of(*made, order)) == {"y": 7}


def test_of_a_line_decided_between_only_what_was_put_on_top_again_is_taken_out() -> None:
    first, second = change(20, "a", add("x", 1)), change(30, "b", add("x", 4))
    between, again = change(50, "m", put("x", 9)), change(60, "b", add("x", 4))
    made = [first, second, between, again, change(30 + WINDOW + 2, "c", add("y", 7))]
    state = state_of(*made)
    order = subtract(state.version_number + 2, "s", state_of(first, second))
    assert quantities(state) == {"x": 13, "y": 7}
    assert quantities(state_of(*made, order)) == {"x": 9, "y": 7}


def test_an_attempt_after_the_subtraction_counts_for_nothing() -> None:
    first = change(20, "a", add("x", 4))
    order = subtract(24, "s", state_of(first))
    assert quantities(state_of(first, order, change(40, "a", add("x", 4)))) == {}


# Orders kept elsewhere


@given(changes())
def test_completed_at_once_everything_handed_out_is_ordered(made: list[Change]) -> None:
    state = state_of(*made)
    assert set(rebase(lines_to_order(state), state)) == set(lines_to_order(state))


def test_a_late_complete_orders_what_is_still_there_and_nobody_has_decided_since() -> None:
    opened = [change(20, "a", add("x", 5)), change(22, "b", add("y", 2)), change(24, "c", add("z", 1))]
    lines = lines_to_order(state_of(*opened))
    state = state_of(*opened, change(30, "d", put("y", 2)), change(32, "e", Remove("z")))
    assert rebase(lines, state) == (OrderedLine("x", 5, 0),)
    bought = change(34, "s", *subtraction("s", (OrderedLine("x", 3, 0),), state))
    assert rebase(lines, state_of(*opened, bought)) == (
        OrderedLine("x", 2, 0),
        OrderedLine("y", 2, 0),
        OrderedLine("z", 1, 0),
    )


@given(changes(), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=4))
def test_no_number_of_late_completes_takes_out_what_is_not_there(
    made: list[Change], completes: list[tuple[int, int]]
) -> None:
    """Tokens of overlapping lines, each completed once, at any later time."""
    assume(not has_order(made))
    tokens = [lines_to_order(state_of(*made[: opened + 1])) for opened, _ in completes]
    state: State | None = None
    for position, each in enumerate(made):
        state = fold(state, each, timing=TIMING).state
        for number, (opened, late) in enumerate(completes):
            if min(opened + late, len(made) - 1) == position and state is not None:
                lines = rebase(tokens[number], state)
                before = quantities(state)
                order = change(
                    state.version_number + 1, f"s{number}", *subtraction(f"s{number}", lines, state)
                )
                state = fold(state, order, timing=TIMING).state
                assert state is not None
                after = quantities(state)
                assert all(0 <= after.get(line.line_id, 0) < before[line.line_id] for line in lines)
