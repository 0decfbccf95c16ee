"""The bounds of a product, and what is taken out of it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from carts.products import (
    Facts,
    InvalidProduct,
    Product,
    ProductContent,
    check_product,
    facts_of,
    with_version,
)

AT = datetime(2025, 11, 25, 9, 0, tzinfo=UTC)
SHIRT = ProductContent(product_id="shirt-1", name="Linen shirt", unit_price=3999, currency="EUR", stock=12)


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels else {}


def test_a_product_is_its_content_as_of_a_version() -> None:
    product = with_version(SHIRT, 7, AT)
    assert (product.name, product.version, product.updated_at) == ("Linen shirt", 7, AT)
    assert facts_of(product) == Facts(7, 3999, "EUR", 12, active=True, name="Linen shirt")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stock": None, "category": "Clothing / Shirts", "attributes": {"text": "a literal \\u0000 is none"}},
        {"unit_price": 0, "stock": 0, "image_url": "/static/shirt.png"},
        {"image_url": "https://images.example/a?b=c#d", "attributes": nested(31)},
        {"name": "x" * 200, "description": "x" * 10_000},
    ],
)
def test_what_keeps_the_bounds_is_taken(fields: dict[str, Any]) -> None:
    check_product(
        ProductContent(**{"product_id": "p", "name": "n", "unit_price": 1, "currency": "EUR", **fields})
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("product_id", "a~b"),
        ("product_id", ".."),
        ("name", " "),
        ("name", "x" * 201),
        ("name", "a\0b"),
        ("description", "x" * 10_001),
        ("name", "two\nlines"),
        ("category", "a\tb"),
        ("category", ""),
        ("category", "x" * 101),
        ("unit_price", -1),
        ("unit_price", 2**44),
        ("currency", "eur"),
        ("currency", "EURO"),
        ("stock", -1),
        ("stock", 2**40),
        ("image_url", "javascript:alert(1)"),
        ("image_url", "https://a b"),
        ("attributes", {"a": "x" * 16_384}),
        ("attributes", nested(33)),
        ("attributes", {"a": [1e308]}),
        ("attributes", {"a": ["b", {"c\0": 1}]}),
        ("version", 0),
        ("version", 2**53),
    ],
)
def test_what_breaks_a_bound_is_refused_by_the_name_of_the_field(field: str, value: Any) -> None:
    fields = {
        "product_id": "p",
        "name": "n",
        "unit_price": 1,
        "currency": "EUR",
        "version": 1,
        "updated_at": AT,
    }
    with pytest.raises(InvalidProduct) as caught:
        check_product(Product(**{**fields, field: value}))
    assert caught.value.field == field
    assert field in str(caught.value)
