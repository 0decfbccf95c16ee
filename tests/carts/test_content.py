"""What each step does to a cart's lines."""

import pytest

from carts.content import EMPTY, Content, apply, shown, subtotal
from carts.operations import Clear, Expire, Operation, OrderedLine, Remove, SetMetadata, Subtract
from tests.carts.histories import add, delta, put


def after(*steps: object, start: int = 0) -> Content:
    """The content after these steps, one operation each, at versions 2, 4, 6, ..."""
    operations = [Operation(2 * i, f"o{i}", "", delta(step)) for i, step in enumerate(steps, 1)]
    return apply(EMPTY, operations, start)


def quantity(content: Content, line_id: str = "x") -> int | None:
    """The quantity of a line, none where there is no trace of it."""
    line = content.lines.get(line_id)
    return line.quantity if line else None


def order(quantity: int, dv: int, sv: int = 100) -> Subtract:
    """The subtraction of an order of line x."""
    return Subtract((OrderedLine("x", quantity, dv),), (), sv, "s")


def test_adds_sum_and_the_newest_price_counts() -> None:
    content = after(add("x", 2, 100), add("x", 3, 90))
    assert quantity(content) == 5
    assert subtotal(content) == 450


def test_a_set_decides_the_quantity_and_its_version() -> None:
    content = after(add("x", 2), put("x", 7))
    assert quantity(content) == 7
    assert content.lines["x"].decided_version == 4


def test_an_add_leaves_the_decision_with_the_set_before_it() -> None:
    content = after(put("x", 7), add("x", 1))
    assert quantity(content) == 8
    assert content.lines["x"].decided_version == 2


def test_a_removed_line_stays_as_a_zero_line_with_the_version_that_decided_it() -> None:
    content = after(add("x", 2), Remove("x"))
    assert quantity(content) == 0
    assert content.lines["x"].decided_version == 4
    assert shown(content) == []


def test_removing_what_is_not_there_is_remembered_too() -> None:
    assert after(Remove("x")).lines["x"].decided_version == 2


def test_a_clear_drops_lines_and_zero_lines_and_remembers_itself() -> None:
    content = after(add("x", 2), Remove("y"), Clear())
    assert content.lines == {}
    assert content.cleared_version == 6
    assert content.currency is None


def test_a_line_added_after_a_clear_was_decided_by_it() -> None:
    assert after(Clear(), add("x", 1)).lines["x"].decided_version == 2


def test_an_expiry_clears() -> None:
    content = after(add("x", 2), Expire(2, 1, 50))
    assert content.lines == {}
    assert content.cleared_version == 4


def test_a_clear_keeps_the_metadata_of_the_cart() -> None:
    assert after(SetMetadata({"note": "gift"}), Clear()).metadata == {"note": "gift"}


def test_metadata_of_a_line_is_replaced_and_left_alone_by_an_add_without() -> None:
    content = after(add("x", 1), SetMetadata({"note": "red"}, "x"), add("x", 1))
    assert content.lines["x"].metadata == {"note": "red"}


def test_metadata_of_a_line_that_is_not_there_is_ignored() -> None:
    assert after(SetMetadata({"note": "red"}, "x")) == EMPTY


def test_a_removed_line_forgets_its_metadata() -> None:
    content = after(add("x", 1), SetMetadata({"note": "red"}, "x"), Remove("x"), add("x", 1))
    assert content.lines["x"].metadata == {}


def test_lines_are_shown_oldest_first_and_a_line_that_comes_back_is_new() -> None:
    content = after(add("x", 1), add("y", 1), Remove("x"), add("x", 1))
    assert [line_id for line_id, _ in shown(content)] == ["y", "x"]


def test_a_subtraction_takes_what_was_ordered_and_leaves_what_came_later() -> None:
    assert quantity(after(add("x", 5), add("x", 2), order(5, dv=0))) == 2


def test_a_subtraction_of_everything_leaves_no_trace() -> None:
    assert quantity(after(add("x", 5), order(5, dv=0))) is None


def test_a_subtraction_keeps_the_zero_line_of_a_decided_line() -> None:
    content = after(put("x", 5), order(5, dv=2))
    assert quantity(content) == 0
    assert content.lines["x"].decided_version == 2


@pytest.mark.parametrize("decision", [put("x", 9), Remove("x"), Clear()])
def test_a_subtraction_leaves_alone_what_was_decided_since(decision: object) -> None:
    content = after(add("x", 5), decision)
    assert apply(content, [Operation(6, "s", "", (order(5, dv=0),))]) == content


def test_remove_then_add_then_subtract_does_not_go_negative() -> None:
    """The zero line of the remove keeps its version, so the order that did not know it takes nothing."""
    assert quantity(after(add("x", 2), Remove("x"), add("x", 1), order(2, dv=0))) == 1


def test_a_subtraction_from_before_a_deletion_takes_nothing() -> None:
    assert quantity(after(add("x", 5), order(5, dv=0, sv=40), start=50)) == 5


def test_an_add_after_a_subtraction_in_version_order_may_come_first_in_time() -> None:
    """On a copy that lacks the add the quantity is negative and not shown; the add makes it right."""
    content = after(order(5, dv=0))
    assert quantity(content) == -5
    assert shown(content) == []
    assert subtotal(content) == 0
    assert quantity(apply(content, [Operation(4, "o", "", (add("x", 6),))])) == 1


def test_one_operation_applies_its_steps_in_order() -> None:
    content = apply(EMPTY, [Operation(2, "o", "", (add("x", 3), Remove("x"), add("x", 1)))])
    assert quantity(content) == 1


def test_lines_of_one_change_are_shown_in_the_order_of_its_steps() -> None:
    steps = tuple(add(name, 1) for name in ("tea", "cup", "pot", "a-spoon"))
    first = apply(EMPTY, [Operation(2, "first", "", (add("mug", 1),))])
    content = apply(first, [Operation(4, "second", "", steps), Operation(6, "third", "", steps[:2])])
    assert [line_id for line_id, _ in shown(content)] == ["mug", "tea", "cup", "pot", "a-spoon"]


def test_a_line_that_comes_back_is_shown_last() -> None:
    steps = (add("tea", 1), add("cup", 1), Remove("tea"), put("pot", 1), add("tea", 1))
    content = apply(EMPTY, [Operation(2, "o", "", steps)])
    assert [line_id for line_id, _ in shown(content)] == ["cup", "pot", "tea"]
