"""What the compaction agent decides about a record, without Kafka."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carts.fold import Verdict
from carts.operations import Add, Change, Clear, Expire, Item, Purge, Seed, Set, Step, Void
from carts.state import Version
from streams.decisions import ChangeSource, Decision, LiftedFloor, Origin, RefusalCode, Rules, decide
from topics.codec import decode_cart, encode_change
from topics.errors import RecordErrorCode
from topics.headers import read_headers, version_header

CART = "user:42"
DAY_US = 24 * 60 * 60 * 1_000_000
NOW_US = 1_764_061_200_000_000
RULES = Rules(retention_us=30 * DAY_US, max_bytes=4 << 20)


def v_at(seconds: float) -> int:
    return 2 * (NOW_US + int(seconds * 1_000_000))


def change(
    v: int, *steps: Step, op_id: str | None = None, cart_id: str = CART, prev: int | None = None
) -> Change:
    delta = steps or (Add("sku-1", 1, 500, "EUR", Item("sku-1")),)
    return Change(
        cart_id=cart_id, version=v, op_id=op_id or f"op-{v}", delta=delta, previous_version=prev, born=v
    )


def fold_in(held: bytes | None, *changes: Change, purge_floor: int = 0) -> Decision:
    """Decide about changes one after the other; returns the last decision."""
    decision = Decision(Verdict.KNOWN)
    for offset, one in enumerate(changes):
        source = ChangeSource(one.cart_id.encode(), encode_change(one), 7, 100 + offset)
        decision = decide(held, purge_floor, source, RULES)
        held = decision.emission.value if decision.emission else held
    return decision


def value_after(*changes: Change) -> bytes:
    emission = fold_in(None, *changes).emission
    assert emission is not None
    assert emission.value is not None
    return emission.value


def refuse(source: ChangeSource, held: bytes | None = None) -> str:
    decision = decide(held, 0, source, RULES)
    assert decision.refusal is not None
    assert decision.refusal.detail
    assert decision.emission is None
    return decision.refusal.code


def expired_cart() -> tuple[bytes, Version]:
    alive = decode_cart(value_after(change(v_at(0)))).state
    expiry = change(
        v_at(DAY_US / 1e6),
        Expire(alive.version_number, alive.operation_count, NOW_US + DAY_US),
        op_id="!expire",
    )
    value = value_after(change(v_at(0)), expiry)
    return value, decode_cart(value).state.version


def purge(version: Version, days_later: int) -> Change:
    at = (version.number + 1) // 2 + days_later * DAY_US
    return change(2 * at, Purge(version.number, version.operation_count, at), op_id="!purge")


def test_a_first_change_makes_a_cart_with_its_version_and_source_in_the_headers() -> None:
    decision = fold_in(None, change(v_at(0)))
    emission = decision.emission
    assert emission is not None
    cart = decode_cart(emission.value)
    assert decision.verdict is Verdict.CHANGED
    assert emission.key == CART.encode()
    assert [(line.line_id, line.quantity) for line in cart.lines] == [("sku-1", 1)]
    headers = read_headers(emission.headers)
    assert (headers.source_partition, headers.source_offset) == (7, 100)
    assert version_header(emission.headers) == cart.state.version
    assert headers.cart_version == cart.version


def test_a_change_delivered_twice_changes_and_sends_nothing() -> None:
    decision = fold_in(None, change(v_at(0)), change(v_at(0)))
    assert decision == Decision(Verdict.KNOWN)


@given(st.permutations(range(6)))
def test_the_order_of_deliveries_does_not_matter(order: list[int]) -> None:
    changes = [
        change(v_at(0)),
        change(v_at(1), Set("sku-1", 5, 500, "EUR", Item("sku-1"))),
        change(v_at(2)),
        change(v_at(3), Clear()),
        change(v_at(4)),
        change(v_at(5), Add("sku-2", 2, 100, "EUR", Item("sku-2"))),
    ]
    assert decode_cart(value_after(*(changes[i] for i in order))) == decode_cart(value_after(*changes))


def test_a_seed_that_the_table_has_is_sent_for_carts_may_have_lost_it() -> None:
    held = value_after(change(v_at(0)), change(v_at(1)))
    tree = msgspec.to_builtins(decode_cart(held).state)
    decision = fold_in(held, change(v_at(1), Seed(tree), op_id="!seed:1"))
    assert decision.verdict is Verdict.KNOWN
    assert decision.emission is not None
    assert decision.emission.value is not None
    assert decode_cart(decision.emission.value).state == decode_cart(held).state


def test_a_change_below_the_floor_changes_nothing() -> None:
    decision = fold_in(None, change(v_at(0)), change(v_at(3600)), change(v_at(10)))
    assert decision == Decision(Verdict.BELOW_FLOOR)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, RecordErrorCode.EMPTY),
        (b"?", RecordErrorCode.NOT_JSON),
        (b'{"cart_id":"user:42"}', RecordErrorCode.INVALID),
        (
            b'{"cart_id":"user:42","v":2,"op_id":"x","delta":[{"kind":"teleport"}]}',
            RecordErrorCode.UNKNOWN_KIND,
        ),
        (encode_change(change(v_at(0), cart_id="user:43")), RefusalCode.WRONG_KEY),
        (encode_change(change(v_at(0), Void())), RefusalCode.UNSUPPORTED),
        (encode_change(change(v_at(0), op_id="!x:1-1")), RefusalCode.UNSUPPORTED),
    ],
)
def test_what_no_cart_can_take_is_refused(value: bytes | None, code: str) -> None:
    assert refuse(ChangeSource(CART.encode(), value, 7, 1)) == code


def test_a_state_that_cannot_be_read_refuses_the_change_and_is_left_alone() -> None:
    source = ChangeSource(CART.encode(), encode_change(change(v_at(0))), 7, 1)
    assert refuse(source, held=b"garbage") == RefusalCode.UNREADABLE_STATE


def test_a_cart_that_carts_would_not_take_refuses_the_change() -> None:
    source = ChangeSource(CART.encode(), encode_change(change(v_at(0))), 7, 1)
    decision = decide(None, 0, source, Rules(retention_us=0, max_bytes=100))
    assert decision.refusal is not None
    assert decision.refusal.code == RefusalCode.TOO_LARGE


def test_a_purge_writes_the_floor_and_then_the_null_with_the_version_it_deletes() -> None:
    held, version = expired_cart()
    decision = fold_in(held, purge(version, days_later=30))
    floor, null = decision.floor, decision.emission
    assert decision.verdict is Verdict.DELETED
    assert floor == LiftedFloor(version.number, Origin(7, 100))
    assert null is not None
    assert (null.key, null.value) == (CART.encode(), None)
    assert version_header(null.headers) == version


def test_a_purge_does_not_lower_the_floor() -> None:
    held, version = expired_cart()
    decision = fold_in(held, purge(version, days_later=30), purge_floor=version.number + 2)
    assert decision.emission is not None
    assert (decision.floor, decision.emission.key) == (None, CART.encode())


def test_a_purge_before_its_time_deletes_nothing() -> None:
    held, version = expired_cart()
    assert fold_in(held, purge(version, days_later=29)) == Decision(Verdict.KNOWN)


def test_a_purge_of_a_cart_that_has_changed_since_deletes_nothing() -> None:
    _, version = expired_cart()
    alive = value_after(change(v_at(0)), change(v_at(5)))
    assert fold_in(alive, purge(version, days_later=30)) == Decision(Verdict.KNOWN)


def test_a_purge_delivered_again_sends_its_null_again() -> None:
    _, version = expired_cart()
    decision = fold_in(None, purge(version, days_later=30), purge_floor=version.number)
    null = decision.emission
    assert null is not None
    assert (decision.floor, null.value) == (None, None)
    sent = version_header(null.headers)
    assert sent is not None
    assert (sent.number, sent.operation_count) == (version.number, version.operation_count)


def test_a_purge_delivered_again_whose_floor_was_lost_sends_both() -> None:
    _, version = expired_cart()
    decision = fold_in(None, purge(version, days_later=30), purge_floor=0)
    assert decision.floor is not None
    assert decision.emission is not None


def test_a_change_from_before_a_deletion_cannot_bring_the_cart_back() -> None:
    source = ChangeSource(CART.encode(), encode_change(change(v_at(0))), 7, 1)
    decision = decide(None, v_at(10), source, RULES)
    assert decision.refusal is not None
    assert decision.refusal.code == RefusalCode.BELOW_PURGE_FLOOR


def test_a_cart_born_after_a_deletion_starts_at_the_floor() -> None:
    decision = fold_in(None, change(v_at(20)), purge_floor=v_at(10))
    emission = decision.emission
    assert emission is not None
    state = decode_cart(emission.value).state
    assert (state.start, state.floor, state.operation_count) == (v_at(10), v_at(10), 1)


def test_a_full_window_of_large_steps_stays_below_the_topics_limit() -> None:
    metadata = {"note": "\N{SNOWMAN}" * 300}
    steps = [Add(f"sku-{i}", 1, 2**40 - 1, "EUR", Item(f"sku-{i}"), metadata) for i in range(256)]
    changes = [change(v_at(i), step) for i, step in enumerate(steps)]
    assert len(value_after(*changes)) < 2 << 20
    assert msgspec.json.decode(value_after(*changes))["totals"]["subtotal"] == 256 * (2**40 - 1)
