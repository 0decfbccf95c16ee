"""The grammar of identifiers, and the derivation of line ids."""

from collections.abc import Callable

import pytest

from carts.errors import InvalidIdentifier
from carts.ids import (
    check_cart_id,
    check_line_id,
    check_op_id,
    check_product_id,
    derive_line_id,
    product_id_of,
    to_cart_id,
    to_line_id,
    to_product_id,
)


@pytest.mark.parametrize(
    "cart_id",
    [
        "user:1",
        "guest:A-Z_a.z~9",
        "user:" + "x" * 128,
        "user:" + "é" * 128,
        "user:auth0|5f7c8ec7c33c6c004bbafe82",
        "user:ada@example.org",
        "user:gid://shop/Customer/7",
        "user:a b",
        "user:{1}",
        "user:日本",
        "user:a:b%20",
    ],
)
def test_cart_ids(cart_id: str) -> None:
    assert check_cart_id(cart_id) == cart_id


@pytest.mark.parametrize(
    "cart_id",
    [
        *("", "user:", "1", "admin:1", "guest:a/b", "guest:a b", "guest:é", "user:" + "x" * 129),
        *("user:1\n", 'user:"', "user:\\", "user:\x00", "user:\x7f", "user:\ud800", "user:\ufffd"),
        *(
            f"user:a{unseen}b"
            for unseen in "\xa0\xad\u034f\u061c\u115f\u180e\u2003\u202f\u3000\u3164\ufe0f\uffa0\ufff9"
        ),
        *("user:a\U000e0020", "user:\U0001d173", "user:a\u3000", "user:Zoe\u0308", "user:\u212b"),
        *("user: a", "user:a ", "user:a\u200bb", "user:a\u202eb", "user:\ufeffa", "User:1", "user"),
    ],
)
def test_what_is_not_a_cart_id(cart_id: str) -> None:
    with pytest.raises(InvalidIdentifier, match="use user:<id>"):
        check_cart_id(cart_id)


def test_a_cart_id_that_somebody_has_written_is_brought_to_one_form() -> None:
    assert to_cart_id("user:Zoe\u0308") == to_cart_id("user:Zoë") == "user:Zoë"


@pytest.mark.parametrize("op_id", ["a", "018f3c2e-7b1a-7000-8000-000000000000", "~" * 128, '"', "o_1"])
def test_operation_ids(op_id: str) -> None:
    assert check_op_id(op_id) == op_id


@pytest.mark.parametrize(
    "op_id", ["", "!x:1-1", "!", "a b", "a\n", "é", "x" * 129, "a\x00", "o_" + 16 * "0a"]
)
def test_what_a_client_may_not_use_as_an_operation_id(op_id: str) -> None:
    with pytest.raises(InvalidIdentifier, match="Idempotency-Key"):
        check_op_id(op_id)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (check_product_id, "sku~1"),
        (check_product_id, ""),
        *((check_product_id, text) for text in (".", "..", "!complete", " a", "a ", "a\nb", 'a"b', "a\\b")),
        *((check_product_id, text) for text in ("x" * 129, "e\u0301", "a\u200bb", "a\u00a0b", "\ud800")),
        (check_line_id, "..~0123456789ab"),
        (check_line_id, "sku~xyz"),
        (check_line_id, "sku~0123"),
    ],
)
def test_what_is_neither_a_product_nor_a_line(check: Callable[[str], str], value: str) -> None:
    with pytest.raises(InvalidIdentifier):
        check(value)


@pytest.mark.parametrize(
    "product_id",
    [
        *("gid://shopify/Product/632910398", "DZ 1437", "été", "A:1/2", "日本茶", "a.b", "...", "x" * 128),
        *("a, b", "50% <b>", "l'eau", "#1", "\N{FAMILY}"),
    ],
)
def test_a_shop_has_its_own_product_ids(product_id: str) -> None:
    assert check_product_id(product_id) == product_id
    assert check_line_id(product_id) == product_id
    line_id = derive_line_id(product_id, {"size": "M"})
    assert check_line_id(line_id) == line_id
    assert product_id_of(line_id) == product_id_of(product_id) == product_id


def test_ids_are_compared_in_nfc() -> None:
    assert to_product_id("e\u0301te\u0301") == to_line_id("e\u0301te\u0301") == "été"


def test_a_product_without_options_is_its_own_line() -> None:
    assert derive_line_id("sku-1", {}) == "sku-1"


def test_the_same_options_find_the_same_line_in_any_order() -> None:
    line_id = derive_line_id("sku-1", {"size": "L", "colour": "red"})
    assert line_id == derive_line_id("sku-1", {"colour": "red", "size": "L"})
    assert check_line_id(line_id) == line_id
    assert line_id != derive_line_id("sku-1", {"colour": "red", "size": "M"})


def test_a_line_id_is_a_golden_vector() -> None:
    """Line ids are stored: this one never changes."""
    assert derive_line_id("sku-1", {"colour": "red"}) == "sku-1~6a7b7f4aa87b"
