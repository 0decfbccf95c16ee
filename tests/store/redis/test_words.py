"""The words by which a product is found, however its name and the search are written."""

from datetime import UTC, datetime

import pytest

from carts.products import Product
from store.redis.catalogue.words import Search, listing_of, words_of


def listing(name: str) -> bytes:
    return listing_of(
        Product(
            product_id="p",
            name=name,
            unit_price=1,
            currency="EUR",
            version=1,
            updated_at=datetime(2026, 11, 28, tzinfo=UTC),
        )
    )


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("lego duplo", "LEGO™ Duplo"),
        ("LEGO™", "Lego Duplo"),
        ("acme cleaning", "Acme℠ Cleaning"),
        ("chanel no5", "Chanel №5"),
        ("lodz", "Poster Łódź"),
        ("Łódź", "Poster Lodz"),
        ("ore", "Øre"),
        ("aesop", "Æsop"),
        ("strasse", "STRAẞE"),
        ("fine", "\ufb01ne"),  # a ligature
        ("istanbul", "İSTANBUL"),
        ("ΌΣΟΣ", "όσος"),
        ("茶", "日本茶"),
        ("日本茶", "日本茶"),
        ("ガラス", "ｶﾞﾗｽのコップ"),
        ("किताब", "हिन्दी किताब"),
        ("한국", "한국어 책"),
        ("محمد", "مُحَمَّد"),
        ("cafe", "cafe\u0301"),
    ],
)
def test_a_name_is_found_however_it_is_written(query: str, name: str) -> None:
    assert Search.of(query, None).finds(listing(name))


@pytest.mark.parametrize(
    ("query", "name"), [("tm", "LEGO™ Duplo"), ("がらす", "からす"), ("कि", "का"), ("本日", "日曜")]
)
def test_another_word_is_not_found(query: str, name: str) -> None:
    assert not Search.of(query, None).finds(listing(name))


def test_a_mark_stays_in_its_word() -> None:
    assert words_of("हिन्दी, น้ำ") == ["हिन्दी", "น้ํา"]
