"""Details of a cart: the last writer of a field decides it, clears keep them, merges add what is lacking."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from carts.content import EMPTY, apply
from carts.details import Address, Details, lacking, patched
from carts.operations import Clear, Operation, SetDetails
from carts.state import State, union

FIELDS = st.dictionaries(
    st.sampled_from(["email", "locale", "shipping_method"]), st.none() | st.sampled_from("ab"), min_size=1
)
ADDRESS = Address(name="Ada", lines=("1 Dorset Street",), country="GB")


def operation(version: int, **fields: Any) -> Operation:
    return Operation(version, f"o{version}", "", (SetDetails(**fields),))


@given(st.lists(FIELDS, max_size=6))
def test_each_field_is_what_the_last_step_that_names_it_says(named: list[dict[str, Any]]) -> None:
    content = apply(EMPTY, [operation(2 * n + 2, **fields) for n, fields in enumerate(named)])
    expected: dict[str, Any] = {}
    for fields in named:
        expected |= fields
    assert content.details == Details(**expected)


@given(st.lists(FIELDS, min_size=1, max_size=6), st.data())
def test_forked_copies_unite_to_the_details_of_all_operations(
    named: list[dict[str, Any]], data: st.DataObject
) -> None:
    ops = [operation(2 * n + 2, **fields) for n, fields in enumerate(named)]
    one = [op for op in ops if data.draw(st.booleans())]
    other = [op for op in ops if op not in one]
    united = union(State(ops=tuple(one)), State(ops=tuple(other)))
    assert united.content() == State(ops=tuple(ops)).content()


def test_a_clear_keeps_the_details() -> None:
    content = apply(EMPTY, [operation(2, email="a@b"), Operation(4, "c", "", (Clear(),))])
    assert content.details == Details(email="a@b")


def test_no_codes_are_no_detail() -> None:
    before = Details(codes=("X",), shipping_address=ADDRESS)
    assert patched(before, SetDetails(codes=())) == Details(shipping_address=ADDRESS)
    assert patched(before, SetDetails(shipping_address=None)) == Details(codes=("X",))


def test_a_merge_adds_what_the_users_cart_lacks_and_replaces_nothing() -> None:
    user = Details(email="ada@example.org", locale="en")
    guest = Details(email="guest@example.org", codes=("X",), shipping_address=ADDRESS)
    added = lacking(user, guest)
    assert added == {"codes": ("X",), "shipping_address": ADDRESS}
    assert patched(user, SetDetails(**added)) == Details(
        email="ada@example.org", locale="en", codes=("X",), shipping_address=ADDRESS
    )
    assert lacking(guest, guest) == {}
