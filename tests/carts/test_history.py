"""A cart folded again from its recorded operations is the cart that was: now, and at every version before."""

from collections.abc import Iterable, Sequence

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from carts.history import beginning, has_gap, replay
from carts.operations import Change, Erase, Expire, Purge
from carts.state import State
from carts.view import last_version_of, time_of, view
from tests.carts.histories import CART, TIMING, add, change, changes, folded, loses_nothing, quantities


def recorded(delivered: Iterable[Change]) -> list[Change]:
    """What the history keeps of a delivery: each operation the first time it comes."""
    kept: dict[tuple[int, str], Change] = {}
    for each in delivered:
        kept.setdefault((each.version, each.op_id), each)
    return list(kept.values())


def until(version: int, kept: Sequence[Change]) -> list[Change]:
    return [each for each in kept if each.version <= version]


def at(version: int, kept: Sequence[Change]) -> State | None:
    """The cart as it was, from a history that has its beginning."""
    found = until(version, kept)
    assert beginning(found) == 0
    return list(replay(found, timing=TIMING))[-1]


@st.composite
def deliveries(draw: st.DrawFn) -> list[Change]:
    """A cart's changes as they arrive: some late, some twice, sometimes with expiries among them."""
    drawn = draw(changes())
    made = [replace(each, born=drawn[0].version) for each in drawn]
    delivered = list(made)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(delivered) - 1))
        late = delivered.pop(place)
        delivered.insert(min(len(delivered), place + draw(st.integers(0, 3))), late)
    assume(loses_nothing(delivered))
    for number in range(draw(st.integers(0, 2))):
        place = draw(st.integers(1, len(delivered)))
        state = folded(delivered[:place])
        assert state is not None
        now = state.version_number // 2 + draw(st.integers(1, 20))
        step = Expire(state.version_number, state.operation_count, now)
        delivered.insert(place, change(2 * now, f"!expire/{number}", step))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(delivered) - 1))
        delivered.insert(draw(st.integers(place + 1, len(delivered))), delivered[place])
    return delivered


@given(deliveries())
def test_at_its_newest_version_a_cart_is_what_it_is_now(delivered: list[Change]) -> None:
    now = folded(delivered)
    newest = max(each.version for each in delivered)
    then = at(newest, recorded(delivered))
    assert then == now
    assert now is not None
    assert then is not None
    assert view(CART, then) == view(CART, now)


@given(deliveries(), st.data())
def test_at_an_older_version_a_cart_is_what_its_operations_up_to_then_make(
    delivered: list[Change], data: st.DataObject
) -> None:
    kept = recorded(delivered)
    version = data.draw(
        st.sampled_from(sorted(each.version for each in kept if each.version >= kept[0].born))
    )
    assert at(version, kept) == folded(each for each in delivered if each.version <= version)


@given(deliveries(), st.data())
def test_late_changes_make_the_same_cart_as_changes_in_time(
    delivered: list[Change], data: st.DataObject
) -> None:
    kept = [each for each in recorded(delivered) if not isinstance(each.delta[0], Expire)]
    version = data.draw(st.sampled_from([each.version for each in kept if each.version >= kept[0].born]))
    in_time = folded(sorted(until(version, kept), key=lambda each: each.version))
    then = at(version, kept)
    assert in_time is not None
    assert then is not None
    assert view(CART, then) == view(CART, in_time)


@given(deliveries(), st.data())
def test_a_missing_operation_that_another_was_made_on_is_noticed(
    delivered: list[Change], data: st.DataObject
) -> None:
    kept = [each for each in recorded(delivered) if not isinstance(each.delta[0], Expire)]
    versions = {each.version for each in kept}
    assert not has_gap(kept, versions)
    made_on = {each.previous_version for each in kept if each.previous_version} & versions - {kept[0].born}
    assume(made_on)
    missing = data.draw(st.sampled_from(sorted(made_on)))
    left = [each for each in kept if each.version != missing]
    assert has_gap(left, {each.version for each in left})


def born(v: int, op_id: str, birth: int, prev: int | None, pieces: int = 1) -> Change:
    return replace(change(v, op_id, add("x", pieces), prev=prev), born=birth)


def test_a_cart_older_than_its_history_is_not_known() -> None:
    assert beginning([born(40, "b", 20, 20), born(60, "c", 20, 40)]) is None
    assert beginning([]) is None


def test_a_change_that_overtook_the_birth_belongs_to_it() -> None:
    assert beginning([born(22, "b", 20, 20), born(20, "a", 20, 0)]) == 0
    assert beginning([born(22, "b", 20, 20)]) is None


def test_a_birth_published_again_without_what_it_knew_is_one() -> None:
    again = change(20, "a", add("x", 1))
    assert beginning([again, born(22, "b", 20, 20)]) == 0
    assert beginning([again]) is None


def test_a_birth_on_a_copy_that_was_too_old_to_count_is_none() -> None:
    assert beginning([born(400, "a", 400, 20)]) is None


def test_a_second_birth_counts_after_a_purge_only() -> None:
    unknown, second = born(40, "b", 20, 20), born(400, "c", 400, 0)
    gone = change(300, "!purge/41-3", Purge(41, 3, 150))
    assert beginning([unknown, second]) is None
    assert beginning([unknown, gone, second]) == 2
    assert beginning([change(200, "!expire/40-2", Expire(40, 2, 100)), gone, second]) == 2


def test_a_purged_cart_is_none_and_starts_anew() -> None:
    first = born(20, "a", 20, 0)
    expired = change(60, "!expire/20-1", Expire(20, 1, 30))
    gone = change(400, "!purge/61-2", Purge(61, 2, 200))
    again = born(500, "b", 500, 0, pieces=3)
    states = list(replay([first, expired, gone, again], retention_us=100, timing=TIMING))
    assert [None if state is None else quantities(state) for state in states] == [
        {"x": 1},
        {},
        None,
        {"x": 3},
    ]


def test_an_erased_cart_is_known_from_its_erasure_on() -> None:
    overtook = born(42, "c", 20, 40, pieces=2)
    erasure = change(41, "!erase/1", Erase())
    kept = [overtook, erasure, born(60, "d", 20, 42)]
    assert beginning(kept) == 0
    state = list(replay(kept, timing=TIMING))[-1]
    assert state is not None
    assert quantities(state) == {"x": 3}
    assert not has_gap(kept, {each.version for each in kept})


def test_the_last_version_of_a_time_is_that_of_its_microsecond() -> None:
    for version in (2, 3_591_689_962_000_000):
        time = time_of(version)
        assert time is not None
        assert last_version_of(time) == version + 1
