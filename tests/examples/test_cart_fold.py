"""The fold of the consumers to copy, in plain dictionaries, is that of the product, change by change."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cart_fold import fold as copied_fold
from cart_fold import version_of
from cart_fold import view as copied_view
from carts.fold import Outcome, fold
from carts.ids import finish_op_id
from carts.limits import TIMING as PRODUCT_TIMING
from carts.limits import Timing
from carts.operations import (
    Change,
    Erase,
    Expire,
    Finish,
    Item,
    Merged,
    Purge,
    Remove,
    Seed,
    Set,
    SetDetails,
    SetMetadata,
    Trim,
)
from carts.ordering import counted_attempts, lines_to_order
from carts.state import State
from carts.view import CartView, view
from tests.carts import histories, test_erasure, test_fold, test_ordering, test_trim
from tests.carts.histories import CART, TIMING, add, changes
from tests.examples.shown import shown_by_both
from topics.published import examples

WINDOW = 2 * TIMING.window_us


def plain(value: object) -> Any:
    """A value as it comes out of JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


def shown(seen: CartView) -> dict[str, Any]:
    """Of what GET shows the part that the copied view has."""
    return shown_by_both(plain(seen))


@st.composite
def commands(draw: st.DrawFn, state: State | None, earlier: Sequence[State], v: int, op_id: str) -> Change:
    """What the product's own processes bring into a cart: right, outdated or out of nowhere."""
    seen = draw(st.sampled_from([*earlier[-2:], state or State()]))
    number, count = seen.version_number, seen.operation_count
    options = dict.fromkeys(["size"], draw(st.sampled_from("sm")))
    step = draw(
        st.sampled_from(
            [
                Expire(number, count, v // 2),
                Expire(number, count, v // 2),
                Purge(number, count, v // 2 + 100),
                Trim(v // 2 + draw(st.sampled_from([0, 200]))),
                Erase(),
                Seed(plain(seen)),
                Finish(lines_to_order(seen), counted_attempts(seen), number, "m", 1),
                Merged("m", "user:2"),
                Set("x~aaaaaaaaaaaa", 2, 5, "USD", Item("x", options), {"gift": True}),
                SetMetadata({"note": "line"}, "x"),
                SetMetadata({"note": "no line"}, "z"),
                SetDetails(codes=draw(st.sampled_from([(), ("A", "B")]))),
                Remove("never there"),
                add("x", -draw(st.integers(1, 3))),
            ]
        )
    )
    op_id = finish_op_id(1, "m") if isinstance(step, Finish) else op_id
    previous = draw(st.sampled_from([None, number, v - 2]))
    return histories.change(v, op_id, step, prev=previous)


@settings(max_examples=50)
@given(st.data())
def test_it_gives_the_same_cart_after_every_change(data: st.DataObject) -> None:
    made = data.draw(changes(most=12))
    delivered = data.draw(st.permutations([*made, *data.draw(st.lists(st.sampled_from(made), max_size=3))]))
    if data.draw(st.booleans()):
        delivered = sorted(delivered, key=lambda each: each.version)
    purge_floor = data.draw(st.sampled_from([0, 0, 0, 24]))
    state: State | None = None
    copied: dict[str, Any] | None = None
    earlier: list[State] = []
    for number, each in enumerate(delivered):
        change = each
        if data.draw(st.integers(0, 2)) == 0:
            v = each.version + data.draw(st.sampled_from([-2, 0, 2, 150]))
            change = data.draw(commands(state, earlier, v, f"c{number}"))
        for one in {id(change): change, id(each): each}.values():
            earlier += [] if state is None else [state]
            state = fold(state, one, purge_floor=purge_floor, timing=TIMING).state
            copied = copied_fold(copied, plain(one), purge_floor, WINDOW)
            if state is None:
                assert copied is None
                continue
            assert msgspec.convert(plain(copied), State) == state
            assert copied_view(copied or {}) == shown(view(CART, state))
            assert version_of(copied or {}) == (state.version_number, state.operation_count)
            # A consumer keeps it as JSON, or goes on from what `carts` has.
            copied = data.draw(st.sampled_from([copied, plain(copied), plain(state)]))


def fold_both(
    state: State | None,
    change: Change,
    *,
    purge_floor: int = 0,
    retention_us: int = 0,
    timing: Timing = PRODUCT_TIMING,
) -> Outcome:
    """The product's fold, once the copied one has done the same."""
    outcome = fold(state, change, purge_floor=purge_floor, retention_us=retention_us, timing=timing)
    if retention_us:
        return outcome  # the copied fold believes a purge that it is due
    before = None if state is None else plain(state)
    try:
        after = copied_fold(before, plain(change), purge_floor, 2 * timing.window_us)
    except ValueError:
        after = before
    assert (None if after is None else msgspec.convert(plain(after), State)) == outcome.state
    return outcome


def cases(*modules: ModuleType) -> list[Callable[[], None]]:
    """Their tests of one history each: random ones have a test of their own here."""
    found = [each for module in modules for name, each in vars(module).items() if name.startswith("test_")]
    return [each for each in found if not hasattr(each, "hypothesis") and not each.__code__.co_argcount]


@pytest.mark.parametrize(
    "case", cases(test_fold, test_ordering, test_erasure, test_trim), ids=lambda case: case.__name__
)
def test_a_rule_of_the_fold_is_a_rule_of_the_copy(
    case: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (histories, test_fold, test_ordering, test_erasure, test_trim):
        monkeypatch.setattr(module, "fold", fold_both)
    case()


def test_it_folds_every_example_record() -> None:
    for name, example in examples("cart-changed"):
        change = msgspec.convert(example.value, Change)
        expected = fold(None, change).state
        try:
            copied = copied_fold(None, plain(example.value))
        except ValueError:
            copied = None  # a step that only compaction itself makes
        assert (copied is None) == (expected is None), name
        if copied is not None and expected is not None:
            assert copied_view(copied) == shown(view(change.cart_id, expected)), name
