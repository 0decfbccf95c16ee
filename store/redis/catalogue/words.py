"""The words by which a product is found. Pure."""

import re
import unicodedata
from typing import Final, Self

import msgspec

from carts.products import Product

WORD_LENGTH: Final = 32
"""Characters of a word that count."""
PRODUCT_WORDS: Final = 64
"""Words of one product that are found: those of the name first."""
QUERY_WORDS: Final = 8
"""Words of one search that count."""

_WORD: Final = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words of a text in their order: without case and accents, letters and digits only.

    >>> words_of("T-Shirt, Größe 42 für Zoë")
    ['t', 'shirt', 'grosse', '42', 'fur', 'zoe']
    """
    plain = text.casefold()
    if not plain.isascii():
        decomposed = unicodedata.normalize("NFKD", plain)
        plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return [word[:WORD_LENGTH] for word in _WORD.findall(plain)]


def listing_of(product: Product) -> bytes:
    """What the index keeps of a product: its category, a line feed, each of its words between blanks.

    Empty for a product that is not listed.
    """
    if not product.active:
        return b""
    category = product.category or ""
    words = dict.fromkeys(words_of(f"{product.name} {category} {product.description}"))
    kept = sorted(list(words)[:PRODUCT_WORDS])
    return f"{category}\n {' '.join(kept)} ".encode()


class Search(msgspec.Struct, frozen=True):
    """What is looked for: products with all of `words`, a word that begins with `prefix`, in `category`."""

    words: tuple[str, ...] = ()
    prefix: str | None = None
    category: str | None = None

    @classmethod
    def of(cls, query: str | None, category: str | None) -> Self:
        """The search that `query` asks for; its last word may be unfinished."""
        words = words_of(query or "")[:QUERY_WORDS]
        if not words:
            return cls(category=category)
        *whole, prefix = words
        return cls(tuple(dict.fromkeys(whole)), prefix, category)

    def finds(self, listing: bytes | None) -> bool:
        """Whether a product with this listing is meant."""
        if listing is None:
            return False
        category, _, words = listing.partition(b"\n")
        return (
            (self.category is None or category == self.category.encode())
            and (self.prefix is None or f" {self.prefix}".encode() in words)
            and all(f" {word} ".encode() in words for word in self.words)
        )
