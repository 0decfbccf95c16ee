"""The steps of a merge on real servers: Redis then holds the fold of everything that stands in its outbox."""

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from carts import merging
from carts.fold import fold
from carts.ids import claim_op_id
from carts.merging import Basis, Merge, Strategy, Transfer
from carts.operations import Add, Change, Item
from carts.protocol import CartRow
from carts.state import State, Status, union
from store.redis import Applied, CartStore, ChangeRequest, Decision, Reason, Refused, Replayed
from tests.store.redis.conftest import Rows, StoreFixture
from tests.store.redis.copies import assert_redis_holds
from tests.store.redis.test_put_equals_protocol import CART, property_test, put
from tests.store.redis.test_subtraction import TIMING, cart, now_us, order_of, request

MERGE = Merge("m", CART, "user:42", Strategy.SUM)
CLAIM = Decision(claim_op_id("m"), MERGE.claim())
lines = st.lists(st.tuples(st.sampled_from("xy"), st.integers(1, 9)), max_size=4)


def adding(line_id: str, quantity: int) -> Add:
    return Add(line_id, quantity, 100, "EUR", Item(line_id))


def transfer(guest: State) -> Transfer:
    """Everything that the guest's cart shows, for a user without a cart."""
    return merging.plan(MERGE, Basis(guest, State()), number=1, place=1, now_us=now_us())


def steps_of(made: Transfer) -> tuple[Decision, Decision]:
    """The operation on the guest's cart, and that on the user's."""
    return Decision(made.finish_op_id, made.withdrawal), Decision(made.merge_op_id, made.additions)


async def write(fixture: StoreFixture, op_id: str, step: Add) -> Applied | Replayed | Refused:
    """A client's write."""
    return await fixture.store_with(timing=TIMING).change(request(op_id, step))


async def folded_outbox(fixture: StoreFixture, state: State | None = None) -> State:
    """The fold of what stands in the outbox of the cart's partition."""
    for entry in await fixture.store.outbox_read(fixture.layout.partition(CART)):
        change = msgspec.json.decode(entry.event, type=Change)
        outcome = fold(state, change, timing=TIMING)
        state = outcome.state
    assert state is not None
    return state


@property_test
@given(before=lines, seen=st.integers(0, 4), late=lines, again=st.booleans(), side=st.sampled_from("gu"))
def test_redis_then_holds_the_fold(
    on_empty_server: Callable[[Any], None],
    before: list[tuple[str, int]],
    seen: int,
    late: list[tuple[str, int]],
    again: bool,  # noqa: FBT001
    side: str,
) -> None:
    async def play(fixture: StoreFixture) -> None:
        store = fixture.store_with(timing=TIMING)
        record: State | None = None
        for number, (line_id, quantity) in enumerate(before):
            await write(fixture, f"before-{number}", adding(line_id, quantity))
            if number < seen:
                record = await folded_outbox(fixture)
        if side == "g":
            assert isinstance(await store.merge(CART, CLAIM, record), Applied)
            refused = await write(fixture, "refused", adding("x", 1))
            assert isinstance(refused, Refused)
            assert (refused.reason, refused.into) == (Reason.CLAIMED, "user:42")
        snapshot = await folded_outbox(fixture) if before or side == "g" else State()
        if side == "u":
            for number, (line_id, quantity) in enumerate(late):
                await write(fixture, f"late-{number}", adding(line_id, quantity))
        finish, merge_in = steps_of(transfer(snapshot if side == "g" else cart(3)))
        step = finish if side == "g" else merge_in
        assert isinstance(await store.merge(CART, step, snapshot), Applied)
        if again:
            repeated = await store.merge(CART, step, snapshot)
            assert isinstance(repeated, Replayed)
            assert repeated.entry is not None
            assert repeated.entry.op_id == step.op_id
        state = await folded_outbox(fixture)
        await assert_redis_holds(fixture, CART, state)
        assert state.transfers == 1
        if side == "g":
            assert (state.status, state.merged_into) == (Status.MERGED, "user:42")
            assert all(line.quantity == 0 for line in state.content().lines.values())

    on_empty_server(play)


async def test_a_user_without_a_cart_gets_one(fixture: StoreFixture) -> None:
    _, merge_in = steps_of(transfer(cart(2)))
    answer = await fixture.store.merge(CART, merge_in, None)
    assert isinstance(answer, Applied)
    assert answer.cart is not None
    assert {line.line_id: line.quantity for line in answer.cart.view().lines} == {"sock": 2}


async def test_a_user_whose_cart_only_the_row_has_keeps_it(fixture: StoreFixture) -> None:
    fixture.rows.states[CART] = cart(3)
    _, merge_in = steps_of(transfer(cart(2)))
    answer = await fixture.store.merge(CART, merge_in, None)
    assert isinstance(answer, Applied)
    assert answer.cart is not None
    assert {line.line_id: line.quantity for line in answer.cart.view().lines} == {"sock": 5}


async def test_nothing_is_begun_on_what_was_found_before_the_partition_was_restored(
    fixture: StoreFixture,
) -> None:
    partition = fixture.layout.partition(CART)

    class RestoredMeanwhile(Rows):
        looks = 0

        async def look_up(self, cart_id: str) -> CartRow:
            found = await super().look_up(cart_id)
            if not self.looks:
                token = await fixture.store.restore_begin(partition)
                await fixture.store.restore_finish(partition, token, 0, 0)
                self.states[cart_id] = cart(3)
            self.looks += 1
            return found

    rows = RestoredMeanwhile()
    store = CartStore(fixture.client, fixture.layout, rows=rows)
    _, merge_in = steps_of(transfer(cart(2)))
    answer = await store.merge(CART, merge_in, None)
    assert isinstance(answer, Applied)
    assert answer.cart is not None
    assert {line.line_id: line.quantity for line in answer.cart.view().lines} == {"sock": 5}
    assert rows.looks == 2


async def test_an_order_waits_for_rows_that_are_behind_what_redis_was_restored_on(
    fixture: StoreFixture,
) -> None:
    partition = fixture.layout.partition(CART)
    token = await fixture.store.restore_begin(partition)
    await fixture.store.restore_finish(partition, token, 0, 9, rows_position=7, topic_id="topic")
    fixture.rows.states[CART] = snapshot = cart(3)
    behind = await fixture.store.subtract(CART, "order", order_of(snapshot, "order"), snapshot)
    assert behind == Refused(reason=Reason.ROW_UNKNOWN)
    fixture.rows.position, fixture.rows.topic_id = 7, "topic"
    answer = await fixture.store.subtract(CART, "order", order_of(snapshot, "order"), snapshot)
    assert isinstance(answer, Applied)


async def test_a_transfer_that_the_record_has_had_long_ago_is_known(fixture: StoreFixture) -> None:
    """Redis has fallen back to before it, and the record's window has left it behind."""
    snapshot = cart(2)
    _, merge_in = steps_of(transfer(snapshot))
    had = msgspec.structs.replace(cart(5), transfers=1)
    await put(fixture, cart(3))
    answer = await fixture.store.merge(CART, merge_in, had)
    assert isinstance(answer, Replayed)
    assert answer.entry is None


async def test_a_finish_waits_for_a_record_with_all_it_has_counted(fixture: StoreFixture) -> None:
    early, late = cart(2), cart(2, 3)
    finish, _ = steps_of(transfer(union(early, late)))
    await put(fixture, early)
    assert await fixture.store.merge(CART, finish, early) == Refused(reason=Reason.NO_RECORD)


async def test_a_merged_cart_refuses_writes_and_names_its_successor(fixture: StoreFixture) -> None:
    snapshot = cart(2)
    await put(fixture, snapshot)
    await fixture.store.merge(CART, CLAIM, snapshot)
    finish, _ = steps_of(transfer(snapshot))
    await fixture.store.merge(CART, finish, snapshot)
    refused = await fixture.store.change(
        ChangeRequest(
            cart_id=CART, op_id="w", fingerprint="f", steps=(adding("x", 1),), first_seen_us=now_us()
        )
    )
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.into) == (Reason.MERGED, "user:42")
