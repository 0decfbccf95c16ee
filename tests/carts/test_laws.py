"""Laws over random histories: fold forgets the order of delivery, union is of sets, versions name sets."""

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from carts.content import EMPTY, apply
from carts.fold import Verdict, fold
from carts.operations import Change, Expire
from carts.state import State, Version, effective, entry_digest, ordered, trim, uncovered, union
from tests.carts.histories import CART, TIMING, changes, folded, loses_nothing, quantities

Copies = tuple[State, State, State]


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Change], list[Change]]:
    """Two deliveries of the same changes, in any order, some of them twice."""
    made = draw(changes())
    again = draw(st.lists(st.sampled_from(made), max_size=2))
    return draw(st.permutations(made)), draw(st.permutations([*made, *again]))


@st.composite
def copies(draw: st.DrawFn) -> tuple[list[Change], list[tuple[State, list[Change]]]]:
    """Three copies of one cart: each knows some of its changes, and all that its floor has passed."""
    made = draw(changes())
    drawn = []
    for _ in range(3):
        known = [each for each in made if draw(st.booleans())] or made[:1]
        assume(loses_nothing(known))
        state = folded(known)
        assert state is not None
        assume(all(each.version > state.floor or each in known for each in made))
        halves = {e.op_id for e in made if e.version <= state.floor} & {
            e.op_id for e in made if e.version > state.floor
        }
        assume(not halves)
        drawn.append((state, known))
    return made, drawn


@given(deliveries())
def test_fold_does_not_depend_on_the_order_or_number_of_deliveries(
    both: tuple[list[Change], list[Change]],
) -> None:
    assume(loses_nothing(both[0]) and loses_nothing(both[1]))
    assert folded(both[0]) == folded(both[1])


@given(changes())
def test_a_second_delivery_of_everything_changes_nothing(made: list[Change]) -> None:
    state = folded(made)
    for each in made:
        outcome = fold(state, each, timing=TIMING)
        assert outcome.state == state
        assert outcome.verdict in (Verdict.KNOWN, Verdict.BELOW_FLOOR)


@given(changes())
def test_the_verdict_says_changed_exactly_when_the_state_is_another(made: list[Change]) -> None:
    state: State | None = None
    for each in [*made, *made]:
        outcome = fold(state, each, timing=TIMING)
        assert (outcome.verdict is Verdict.CHANGED) == (outcome.state != state)
        state = outcome.state


@given(changes())
def test_a_changed_state_has_a_higher_version(made: list[Change]) -> None:
    state: State | None = None
    for each in made:
        outcome = fold(state, each, timing=TIMING)
        if state is not None and outcome.state is not None and outcome.state != state:
            assert (outcome.state.version_number, outcome.state.operation_count) > (
                state.version_number,
                state.operation_count,
            )
        state = outcome.state


@given(changes())
def test_the_version_is_a_pure_function_of_the_set_of_operations(made: list[Change]) -> None:
    state = folded(made)
    assert state is not None
    attempts = {(each.version, each.op_id) for each in made}
    digest = sum(entry_digest(v, op_id) for v, op_id in attempts) % 2**48
    assert state.version == Version(max(v for v, _ in attempts), len(attempts), digest)


@given(changes())
def test_trimming_changes_neither_content_nor_version(made: list[Change]) -> None:
    whole = State(ops=ordered(each.operation() for each in made))
    cut = trim(whole, TIMING)
    assert cut.content() == whole.content()
    assert cut.version == whole.version
    assert trim(cut, TIMING) == cut
    assert all(op.version > cut.floor for op in cut.ops)


@given(changes())
def test_applying_operation_by_operation_equals_the_fold(made: list[Change]) -> None:
    """What the Redis script does to its lines: each new operation on top, whatever has left the window."""
    content = EMPTY
    known: set[str] = set()
    kept: list[Change] = []
    for each in made:
        if each.op_id not in known:
            known.add(each.op_id)
            kept.append(each)
            content = apply(content, [each.operation()])
    state = folded(kept)
    assert state is not None
    assert content == state.content()


@given(copies())
def test_union_is_commutative_associative_and_idempotent(
    drawn: tuple[list[Change], list[tuple[State, object]]],
) -> None:
    (a, _), (b, _), (c, _) = drawn[1]
    assert union(a, b) == union(b, a)
    assert union(union(a, b), c) == union(a, union(b, c))
    assert union(a, a) == a


@given(copies())
def test_union_shows_the_fold_of_the_union_of_the_changes(
    drawn: tuple[list[Change], list[tuple[State, list[Change]]]],
) -> None:
    made, [(a, known_a), (b, known_b), _] = drawn
    either = [each for each in made if each in known_a or each in known_b]
    assume(loses_nothing(either))
    together = folded(either)
    assert together is not None
    assert union(a, b).content() == together.content()
    assert union(a, b).version == together.version
    assert trim(union(a, b), TIMING) == together


@given(copies())
def test_a_union_covers_both_sides(drawn: tuple[list[Change], list[tuple[State, object]]]) -> None:
    (a, _), (b, _), _ = drawn[1]
    for side in (a, b):
        assert uncovered(union(a, b), [(op.version, op.op_id) for op in side.ops]) == []


@given(copies())
def test_coverage_is_containment(drawn: tuple[list[Change], list[tuple[State, list[Change]]]]) -> None:
    _, [(a, known_a), (b, _), _] = drawn
    missing = uncovered(a, [(op.version, op.op_id) for op in b.ops])
    highest = {each.op_id: max(e.version for e in known_a if e.op_id == each.op_id) for each in known_a}
    assert missing == [
        (op.version, op.op_id)
        for op in b.ops
        if op.version > a.floor and highest.get(op.op_id, -1) < op.version and not _left(a, op.op_id)
    ]


def _left(state: State, op_id: str) -> bool:
    """Whether it is of an order or a merge, and its entry has left the window."""
    return state.remembers(op_id) and not any(op.op_id == op_id for op in state.ops)


@given(changes())
def test_each_operation_counts_once_at_its_highest_version(made: list[Change]) -> None:
    counted = effective(ordered(each.operation() for each in made))
    assert len({op.op_id for op in counted}) == len(counted)
    for op in counted:
        assert op.version == max(each.version for each in made if each.op_id == op.op_id)


@given(changes(most=5), changes(most=5), st.integers(0, 400))
def test_a_write_that_did_not_know_of_an_expiry_is_never_wiped_by_it(
    before: list[Change], after: list[Change], at: int
) -> None:
    """Whatever is written on a copy that has not seen the expiry counts, and so does what was there."""
    state = folded(before)
    assert state is not None
    expire = Change(
        cart_id=CART, version=0, op_id="!e", delta=(Expire(state.version_number, state.operation_count, at),)
    )
    expired = fold(state, expire, timing=TIMING).state
    assert expired is not None
    assert expired.expired
    assert quantities(expired) == {}
    late = [
        msgspec.structs.replace(
            each,
            op_id=f"late-{each.op_id}",
            version=each.version + state.version_number,
            previous_version=state.version_number + (each.previous_version or 0),
        )
        for each in after
    ]
    revived = folded(late, expired)
    assert revived is not None
    assert not revived.expired
    assert quantities(revived) == quantities(folded([*before, *late]) or State())


@given(changes())
def test_states_survive_json(made: list[Change]) -> None:
    state = folded(made)
    assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state
