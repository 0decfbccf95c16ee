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
_DROPPED: Final = re.compile(
    "[\N{TRADE MARK SIGN}\N{SERVICE MARK}\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}\N{SOFT HYPHEN}]"
)
"""Signs that are part of no word: decomposed, the first two would be letters."""
_ACCENT: Final = re.compile(r"[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670]")
"""Marks that people leave out when they type: accents of Latin, Greek and Cyrillic letters, points of Hebrew
and Arabic ones. Those of other scripts are vowels."""
_LETTERS: Final = str.maketrans(
    dict(zip("łøđħŧŋ\u0131ĸðƀƶǥɨʉɫə", "lodhtnikdbzgiule", strict=True)) | {"æ": "ae", "œ": "oe", "þ": "th"}
)
"""Letters that Unicode does not decompose, as people type them who do not have them on their keyboard."""
_HAN_OR_KANA: Final = re.compile(
    r"[\u3005-\u3007\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af]"
)
"""No blanks stand between the words of Chinese and Japanese: each character counts as one."""


def words_of(text: str) -> list[str]:
    """The words of a text in their order: without case and accents, letters and digits only.

    >>> words_of("T-Shirt, Größe 42 für Zoë")
    ['t', 'shirt', 'grosse', '42', 'fur', 'zoe']
    >>> words_of("LEGO™ aus Łódź, 日本茶")
    ['lego', 'aus', 'lodz', '日', '本', '茶']
    """
    if text.isascii():
        return [word[:WORD_LENGTH] for word in _WORD.findall(text.casefold())]
    folded = unicodedata.normalize("NFKD", _DROPPED.sub("", text)).casefold()
    plain = unicodedata.normalize("NFC", _ACCENT.sub("", unicodedata.normalize("NFKD", folded)))
    spaced = _HAN_OR_KANA.sub(r" \g<0> ", plain.translate(_LETTERS))
    kept = "".join(letter if letter.isalnum() or _is_mark(letter) else " " for letter in spaced)
    return [word[:WORD_LENGTH] for word in kept.split()]


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter).startswith("M")


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
