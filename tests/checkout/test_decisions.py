"""What a checkout decides, without a server: which carts may be ordered, and what has changed under them."""

from collections.abc import Mapping

import msgspec
import pytest

from carts.products import Facts
from carts.state import ClaimState, State
from carts.view import CartLine, CartView, totals_of
from gateway.checkout.decisions import (
    cart_to_order,
    check_may_order,
    check_total,
    differences,
    order_lines,
    quantities_by_product,
)
from gateway.checkout.problems import Difference
from gateway.http.problems import CART_EMPTY, CART_OUTDATED, CLAIMED, MERGED, Problem, ProblemType

CUP = Facts(version=7, unit_price=1450, currency="EUR", stock=5, active=True, name="Cup")


def cup(**changed: object) -> Facts:
    return msgspec.structs.replace(CUP, **changed)


def cart(*lines: CartLine) -> CartView:
    return CartView(
        cart_id="user:1",
        status=State().status,
        version="2-1-000000000000",
        currency="EUR",
        lines=list(lines),
        totals=totals_of(sum(line.quantity * line.unit_price for line in lines)),
        metadata={},
    )


@pytest.mark.parametrize(
    ("state", "kind", "extra"),
    [
        (None, CART_EMPTY, {}),
        (State(merged_into="user:2"), MERGED, {"into": "user:2"}),
        (State(claim=ClaimState("m", "user:2")), CLAIMED, {"into": "user:2"}),
    ],
)
def test_a_cart_that_may_not_be_ordered_says_why(
    state: State | None, kind: ProblemType, extra: Mapping[str, object]
) -> None:
    with pytest.raises(Problem) as caught:
        check_may_order(state)
    assert (caught.value.kind, caught.value.extra) == (kind, extra)


def test_a_cart_without_lines_may_not_be_ordered() -> None:
    state = check_may_order(State())
    with pytest.raises(Problem) as caught:
        cart_to_order("user:1", state)
    assert caught.value.kind is CART_EMPTY


def test_the_lines_of_a_product_are_ordered_together() -> None:
    lines = [CartLine("cup", "cup", 2, 9), CartLine("cup~red", "cup", 3, 9), CartLine("tea", "tea", 1, 9)]
    assert quantities_by_product(cart(*lines)) == {"cup": 5, "tea": 1}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (CUP, []),
        (None, [Difference("cup", "product_unknown", None, None)]),
        (cup(stock=1), [Difference("cup", "short_stock", 1450, 1, "EUR")]),
        (cup(active=False), [Difference("cup", "product_inactive", 1450, 0, "EUR")]),
        (cup(unit_price=1500, stock=None), [Difference("cup", "price_changed", 1500, None, "EUR")]),
        (cup(currency="USD"), [Difference("cup", "currency_changed", 1450, 5, "USD")]),
    ],
)
def test_a_difference_has_the_price_and_the_quantity_that_are_available_now(
    facts: Facts | None, expected: list[Difference]
) -> None:
    assert differences(cart(CartLine("cup", "cup", 2, 1450)), {"cup": facts}) == expected


def test_an_order_comes_to_the_expected_total_or_is_refused() -> None:
    check_total(None, 2900, "EUR")
    check_total(2900, 2900, "EUR")
    with pytest.raises(Problem) as caught:
        check_total(2800, 2900, "EUR")
    assert caught.value.kind is CART_OUTDATED
    assert caught.value.extra == {"differences": [], "total": 2900, "currency": "EUR"}


def test_the_lines_of_an_order_are_the_carts_with_the_names_of_the_products() -> None:
    lines = order_lines(cart(CartLine("cup~red", "cup", 2, 1450, {"colour": "red"})), {"cup": "Cup"})
    assert [(line.line_id, line.quantity, line.name, line.options) for line in lines] == [
        ("cup~red", 2, "Cup", {"colour": "red"})
    ]
