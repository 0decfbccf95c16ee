"""What is available as requested, and what a cart's reader is warned of."""

import msgspec
import pytest

from carts.availability import Code, ProductRequest, obstacle, warnings, wrong_option
from carts.products import Facts
from carts.view import Adjustment, CartLine, CartWarning, Totals, totals_of

CUP = Facts(version=7, unit_price=1450, currency="EUR", stock=5, active=True, name="Cup")


def cup(**changed: object) -> Facts:
    return msgspec.structs.replace(CUP, **changed)


@pytest.mark.parametrize(
    ("request_", "facts", "expected"),
    [
        (ProductRequest(5), CUP, None),
        (ProductRequest(5, 1450, "EUR"), CUP, None),
        (ProductRequest(999), cup(stock=None), None),
        (ProductRequest(1), None, Code.PRODUCT_UNKNOWN),
        (ProductRequest(1), cup(active=False, unit_price=1), Code.PRODUCT_INACTIVE),
        (ProductRequest(1, 1400), CUP, Code.PRICE_CHANGED),
        (ProductRequest(1, 1450, "USD"), CUP, Code.CURRENCY_CHANGED),
        (ProductRequest(1, 1, "USD"), CUP, Code.CURRENCY_CHANGED),
        (ProductRequest(6), CUP, Code.SHORT_STOCK),
        (ProductRequest(1), cup(stock=0), Code.OUT_OF_STOCK),
    ],
)
def test_a_request_is_granted_or_told_what_is_in_its_way(
    request_: ProductRequest, facts: Facts | None, expected: Code | None
) -> None:
    assert obstacle(request_, facts) is expected


def test_a_cart_that_is_as_the_catalogue_has_no_warnings() -> None:
    assert warnings([CartLine("cup", "cup", 5, 1450)], "EUR", {"cup": CUP}) == []


def test_a_cheaper_price_is_a_changed_price_too() -> None:
    found = warnings([CartLine("cup", "cup", 1, 1500)], "EUR", {"cup": CUP})
    assert found == [CartWarning("price_changed", "cup")]


def test_a_line_is_warned_of_price_and_stock_alike() -> None:
    found = warnings([CartLine("cup", "cup", 6, 1400)], "EUR", {"cup": CUP})
    assert found == [CartWarning("price_changed", "cup"), CartWarning("short_stock", "cup")]


def test_another_currency_is_told_apart_from_another_price() -> None:
    found = warnings([CartLine("cup", "cup", 6, 1450)], "USD", {"cup": CUP})
    assert found == [CartWarning("currency_changed", "cup"), CartWarning("short_stock", "cup")]


def test_stock_is_compared_with_all_lines_of_a_product_together() -> None:
    lines = [CartLine("cup", "cup", 3, 1450), CartLine("cup~red", "cup", 3, 1450, {"colour": "red"})]
    found = warnings(lines, "EUR", {"cup": CUP})
    assert found == [CartWarning("short_stock", "cup"), CartWarning("short_stock", "cup~red")]


def test_a_product_that_is_gone_or_inactive_has_no_further_warnings() -> None:
    lines = [CartLine("gone", "gone", 1, 1), CartLine("old", "old", 99, 1)]
    found = warnings(lines, "EUR", {"gone": None, "old": cup(active=False, stock=0)})
    assert found == [CartWarning("product_unknown", "gone"), CartWarning("product_inactive", "old")]


def test_discounts_fees_and_taxes_make_the_total() -> None:
    adjustments = [Adjustment("SAVE10", -290), Adjustment("wrapping", 300), Adjustment("tax-de", 49)]
    assert totals_of(2900, adjustments) == Totals(subtotal=2900, discount=290, tax=49, total=2959)


def test_nobody_is_paid_for_shopping() -> None:
    assert totals_of(100, [Adjustment("GIFT", -500)]) == Totals(subtotal=100, discount=500, tax=0, total=0)


def test_only_options_that_the_product_offers_are_checked() -> None:
    shirt = msgspec.structs.replace(CUP, options={"size": ("S", "M"), "cut": ("slim",)})
    assert wrong_option({"size": "M", "cut": "slim", "engraving": "Ada"}, shirt) is None
    assert wrong_option({"size": "L", "cut": "slim"}, shirt) == "size"
    assert wrong_option({"size": "S"}, shirt) == "cut"
    assert wrong_option({"size": "S"}, CUP) is None
