"""The put script decides as carts.protocol.put_outcome does, and what it puts reads back as the state."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from carts import state as states
from carts.fold import fold
from carts.ids import claim_op_id, finish_op_id, merge_op_id
from carts.limits import Timing
from carts.operations import (
    Add,
    Attempt,
    Change,
    Claim,
    Erase,
    Expire,
    Finish,
    Item,
    OrderedLine,
    Subtract,
    Trim,
)
from carts.protocol import Deleted, deletion_clears, newer, put_outcome, replace_outcome
from carts.state import ClaimState, State, uncovered, union
from store.redis import Applied, ChangeRequest, Missing, PutOutcome, PutResult, Reason, Refused, StatesNeeded
from tests.store.redis.conftest import ABSENCE, StoreFixture
from tests.store.redis.copies import assert_redis_holds, window_of
from tests.store.redis.histories import adds, fingerprint, quantities
from tests.store.redis.histories import sets as set_steps
from tests.support.copies import put_copies

CART = "guest:of-the-test"
WINDOW_US = 60_000_000

property_test = settings(
    max_examples=settings().max_examples // 2,  # each of them asks Redis for every step
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
    ],
)

euros = st.one_of(adds, set_steps).map(lambda step: msgspec.structs.replace(step, currency="EUR"))
writes = st.tuples(
    st.sampled_from(
        ["write", "write", "write", "write", "trim", "expire", "erase", "order", "claim", "merge", "finish"]
    ),
    st.integers(0, 6),  # the operation: few, so that some are born twice
    st.integers(1, 90),  # seconds ago: some are older than the window
    euros,
    quantities,
)
histories = st.lists(writes, max_size=7)
endings = st.sampled_from([None, None, None, "claimed", "merged"])


def grown(state: State | None, history: list[Any], now_us: int) -> State | None:
    """The state after a random history of writes, expiries, orders and merges."""
    timing = Timing(window_us=WINDOW_US)
    for kind, number, seconds, step, quantity in history:
        v = 2 * (now_us - seconds * 1_000_000 - number)
        if kind == "write":
            change = Change(
                cart_id=CART,
                version=v,
                op_id=f"op-{number}",
                fingerprint=fingerprint((step,)),
                delta=(step,),
                previous_version=state.version_number if state and number % 2 else 0,
            )
        elif state is None:
            continue
        elif kind == "expire":
            at = max(now_us - seconds * 1_000_000, state.version_number // 2)
            change = Change(
                cart_id=CART,
                version=0,
                op_id="",
                delta=(Expire(state.version_number, state.operation_count, at),),
            )
        elif kind == "trim":
            change = Change(cart_id=CART, version=v, op_id="", delta=(Trim(now_us + seconds * 1_000_000),))
        elif kind == "erase":
            change = Change(cart_id=CART, version=v + 1, op_id=f"!erase/{number}", delta=(Erase(),))
        elif kind == "claim":
            claim = (Claim("merge-1", "user:42"),)
            change = Change(cart_id=CART, version=v, op_id=claim_op_id("merge-1"), delta=claim)
        elif kind == "merge":
            change = Change(cart_id=CART, version=v, op_id=merge_op_id(1 + number % 3, "m"), delta=(step,))
        else:
            attempts = tuple(Attempt(op.op_id, op.version) for op in state.ops)
            lines = tuple(
                OrderedLine(line_id, quantity, line.decided_version)
                for line_id, line in state.content().lines.items()
            )
            taken: Subtract | Finish = Subtract(lines, attempts, state.version_number, f"order-{number}")
            op_id = f"order-{number}"
            if kind == "finish":
                taken = Finish(lines, attempts, state.version_number, "merge-1", 1 + number % 3)
                op_id = finish_op_id(1 + number % 3, "merge-1")
            v = max(v, state.version_number + 2)
            change = Change(cart_id=CART, version=v, op_id=op_id, delta=(taken,))
        state = fold(state, change, timing=timing).state
    return state


def two_grown(common: list[Any], left: list[Any], right: list[Any]) -> tuple[State, State]:
    """Two states of one history that went on in two ways; only examples in which both are there."""
    now_us = time.time_ns() // 1000
    root = grown(None, common, now_us)
    one, other = grown(root, left, now_us), grown(root, right, now_us)
    assume(one is not None and other is not None)
    assert one is not None
    assert other is not None
    return one, other


def ended(state: State, ending: str | None) -> State:
    """The state as a merge leaves it."""
    if ending is None:
        return state
    claim = ClaimState("merge-1", "user:42")
    return msgspec.structs.replace(
        state, claim=claim, transfers=2, merged_into="user:42" if ending == "merged" else None
    )


async def put(fixture: StoreFixture, state: State) -> PutResult:
    """Put one cart."""
    (result,) = await put_copies(fixture.store, fixture.layout.partition(CART), [(CART, state)])
    return result


async def put_and_check(fixture: StoreFixture, state: State, held: State | None) -> State | None:
    """Put a state over what Redis holds; check outcome and copy; what Redis holds then."""
    expected = put_outcome(state, held.version if held else None, states.window_of(held) if held else [])
    before = await fixture.everything()
    result = await put(fixture, state)
    assert result.outcome is expected
    match result.outcome:
        case PutOutcome.STORED | PutOutcome.REPLACED:
            held = state
        case PutOutcome.REMOVED:
            held = None
        case PutOutcome.UNCOVERED:
            assert held is not None
            held_window = await window_of(fixture, CART) or states.window_of(held)
            assert list(result.uncovered) == uncovered(state, held_window)
    if result.outcome in {PutOutcome.UNCHANGED, PutOutcome.UNCOVERED}:
        assert before == await fixture.everything()
    if held is None:
        assert isinstance(await fixture.store.read(CART), Missing)
    else:
        await assert_redis_holds(fixture, CART, held)
    return held


@property_test
@given(common=histories, left=histories, right=histories, ending=endings)
def test_a_put_replaces_a_copy_only_if_it_covers_it(
    on_empty_server: Callable[[Any], None],
    common: list[Any],
    left: list[Any],
    right: list[Any],
    ending: str | None,
) -> None:
    one, other = two_grown(common, left, right)

    async def play(fixture: StoreFixture) -> None:
        held = None
        for state in (one, one, ended(other, ending), union(one, other), other, one):
            held = await put_and_check(fixture, state, held)

    on_empty_server(play)


def gone_on(state: State, steps: list[Any]) -> State:
    """The state after newer writes, each of a cart that knows the one before."""
    for number, step in enumerate(steps):
        v = state.version_number + 2
        later = Change(cart_id=CART, version=v, op_id=f"later-{number}", delta=(step,))
        found = fold(state, later, timing=Timing(window_us=WINDOW_US)).state
        assert found is not None
        state = found
    return state


@property_test
@given(common=histories, left=histories, right=histories, later=st.lists(euros, max_size=3))
def test_what_a_version_tells_is_what_its_state_would(
    on_empty_server: Callable[[Any], None],
    common: list[Any],
    left: list[Any],
    right: list[Any],
    later: list[Any],
) -> None:
    one, other = two_grown(common, left, right)
    held = gone_on(one, later)
    window = states.window_of(held)

    async def play(fixture: StoreFixture) -> None:
        partition = fixture.layout.partition(CART)
        await put(fixture, held)
        before = await fixture.everything()
        for state in (one, other, union(one, other)):
            answer = await fixture.store.follow_put(partition, 0, 0, [(CART, state.version)])
            if held.expired:
                assert answer == StatesNeeded(frozenset({CART}))
            elif state.version == held.version:
                assert answer == [PutResult(CART, PutOutcome.UNCHANGED)]
            elif (told := newer(state.version, held.version, window)) is not None:
                assert told == uncovered(state, window)
                assert answer == [PutResult(CART, PutOutcome.UNCOVERED, tuple(told))]
            else:
                assert answer == StatesNeeded(frozenset({CART}))
        assert newer(one.version, held.version, window) == (window[-len(later) :] if later else None)
        assert before == await fixture.everything()

    on_empty_server(play)


@property_test
@given(common=histories, left=histories, right=histories)
def test_a_state_of_some_time_ago_replaces_a_copy_it_covers_and_brings_in_nothing(
    on_empty_server: Callable[[Any], None], common: list[Any], left: list[Any], right: list[Any]
) -> None:
    one, other = two_grown(common, left, right)

    async def play(fixture: StoreFixture) -> None:
        partition = fixture.layout.partition(CART)
        (result,) = await fixture.store.replace(partition, [(CART, one)])
        assert result.outcome is replace_outcome(one, None, []) is PutOutcome.ABSENT
        assert isinstance(await fixture.store.read(CART), Missing)
        await put(fixture, one)
        for state in (one, other, union(one, other)):
            before = await fixture.everything()
            expected = replace_outcome(state, one.version, states.window_of(one))
            (result,) = await fixture.store.replace(partition, [(CART, state)])
            assert result.outcome is expected
            if expected is PutOutcome.UNCOVERED:
                assert before == await fixture.everything()
            else:
                await assert_redis_holds(fixture, CART, state)
                keys = fixture.layout.of_cart(CART)
                await fixture.client.execute("DEL", keys.cart, keys.ops, keys.win)
                await put(fixture, one)

    on_empty_server(play)


@property_test
@given(history=histories, seen=st.integers(0, 7))
def test_a_deletion_takes_away_just_what_it_covers(
    on_empty_server: Callable[[Any], None], history: list[Any], seen: int
) -> None:
    now_us = time.time_ns() // 1000
    state, before = grown(None, history, now_us), grown(None, history[:seen], now_us)
    assume(state is not None and before is not None)
    assert state is not None
    assert before is not None
    deleted = Deleted(before.version)

    async def play(fixture: StoreFixture) -> None:
        partition = fixture.layout.partition(CART)
        (absent,) = await put_copies(fixture.store, partition, [(CART, deleted)])
        assert absent.outcome is PutOutcome.UNCHANGED
        await put(fixture, state)
        (result,) = await put_copies(fixture.store, partition, [(CART, deleted)])
        window = states.window_of(state)
        if deletion_clears(deleted, state.version, window):
            assert result.outcome is PutOutcome.REMOVED
            assert isinstance(await fixture.store.read(CART), Missing)
        else:
            assert result.outcome is PutOutcome.UNCOVERED
            await assert_redis_holds(fixture, CART, state)

    on_empty_server(play)


def order(v: int, newest: int) -> State:
    """A cart with an order's subtraction at `v` and a write at `newest`: trimmed if they lie far apart."""
    subtract = Subtract((), (), 1, "order-1")
    timing = Timing(window_us=WINDOW_US)
    state = fold(
        None, Change(cart_id=CART, version=v, op_id="order-1", delta=(subtract,)), timing=timing
    ).state
    step = Add("sock", 1, 100, "EUR", Item("sock"))
    state = fold(state, Change(cart_id=CART, version=newest, op_id="op", delta=(step,)), timing=timing).state
    assert state is not None
    return state


async def test_a_further_attempt_of_an_order_that_has_left_the_window_is_covered_once_it_is_folded(
    fixture: StoreFixture,
) -> None:
    window = 2 * WINDOW_US
    trimmed, later_attempt = order(window, 3 * window), order(3 * window - 2, 3 * window)
    assert "order-1" not in {op.op_id for op in trimmed.ops}
    held = await put_and_check(fixture, later_attempt, None)
    assert await put_and_check(fixture, trimmed, held) == later_attempt
    again = Change(
        cart_id=CART, version=3 * window - 2, op_id="order-1", delta=(Subtract((), (), 1, "order-1"),)
    )
    folded = fold(trimmed, again, timing=Timing(window_us=WINDOW_US)).state
    assert folded is not None
    assert await put_and_check(fixture, folded, later_attempt) == folded


async def test_an_order_still_in_the_window_of_the_state_is_covered_by_its_version_only(
    fixture: StoreFixture,
) -> None:
    window = 2 * WINDOW_US
    earlier_attempt, later_attempt = order(3 * window - 4, 3 * window), order(3 * window - 2, 3 * window)
    held = await put_and_check(fixture, later_attempt, None)
    assert await put_and_check(fixture, earlier_attempt, held) == later_attempt


@property_test
@given(history=histories, ending=endings, step=euros)
def test_a_hydrated_cart_reads_back_and_goes_on_as_the_fold_says(
    on_empty_server: Callable[[Any], None], history: list[Any], ending: str | None, step: Any
) -> None:
    state = grown(None, history, time.time_ns() // 1000)
    assume(state is not None)
    assert state is not None
    state = ended(state, ending)

    async def play(fixture: StoreFixture) -> None:
        timing = Timing(window_us=WINDOW_US)
        store = fixture.store_with(timing=timing)
        assert await store.hydrate(CART, state, ABSENCE)
        await assert_redis_holds(fixture, CART, state)
        assert not await store.hydrate(CART, grown(None, history[:1], 2**40) or state, ABSENCE)
        await assert_redis_holds(fixture, CART, state)
        request = ChangeRequest(
            cart_id=CART,
            op_id="next",
            fingerprint="f",
            steps=(step,),
            first_seen_us=time.time_ns() // 1000,
        )
        answer = await store.change(request)
        if state.merged_into is not None:
            assert answer == Refused(reason=Reason.MERGED, merge_id="merge-1", into="user:42")
        elif state.claim is not None:
            assert answer == Refused(reason=Reason.CLAIMED, merge_id="merge-1", into="user:42")
        elif isinstance(answer, Refused):
            assert answer.reason is Reason.LIMIT
        else:
            assert isinstance(answer, Applied)
            after = fold(state, msgspec.json.decode(answer.entry.event, type=Change), timing=timing).state
            assert after is not None
            await assert_redis_holds(fixture, CART, after)

    on_empty_server(play)


@property_test
@given(history=histories, number=st.integers(0, 6), step=euros)
def test_a_retry_of_an_operation_brought_in_is_a_replay(
    on_empty_server: Callable[[Any], None], history: list[Any], number: int, step: Any
) -> None:
    state = grown(None, history, time.time_ns() // 1000)
    assume(state is not None)
    assert state is not None
    attempts = [op for op in state.ops if op.op_id == f"op-{number}"]
    assume(attempts)

    async def play(fixture: StoreFixture) -> None:
        await put(fixture, state)
        if state.expired:
            return
        request = ChangeRequest(
            cart_id=CART,
            op_id=f"op-{number}",
            fingerprint=attempts[0].fingerprint,
            steps=(step,),
            first_seen_us=time.time_ns() // 1000,
        )
        answer = await fixture.store.change(request)
        assert not isinstance(answer, Applied | Refused)
        assert answer.operation_version in {op.version for op in attempts}
        assert answer.entry is None
        await assert_redis_holds(fixture, CART, state)

    on_empty_server(play)
