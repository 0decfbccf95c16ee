"""What the product cache answers."""

import msgspec

from carts.products import Product


class CacheNotReady(msgspec.Struct, frozen=True):
    """The cache is being filled: what it lacks may exist. Ask again in a second."""


class Page(msgspec.Struct, frozen=True):
    """Products in the order of their ids, and where the next page goes on; no cursor: this was the last.

    A page may be short of its limit, even empty, and still have a cursor: a search looks only so far at once.
    """

    products: list[Product]
    next_cursor: str | None


class ProductDeletion(msgspec.Struct, frozen=True):
    """A product is gone: every copy up to `version`, and nothing newer."""

    product_id: str
    version: int


class Following(msgspec.Struct, frozen=True):
    """How far this copy of the cache is. `generation` names it: one that was lost comes back under another.

    `positions`: the next offset of `products` by partition; a partition that is missing begins at its first.
    """

    generation: str
    positions: dict[int, int]
    complete: bool


class ProductsPut(msgspec.Struct, frozen=True):
    """The batch is in, and the position has moved."""

    applied: int
    unchanged: int


class Regressed(msgspec.Struct, frozen=True):
    """The topic's last word on these products is older than the cache's: the position has not moved.

    `current` is what the cache has. Once that is in the topic again, `put` the batch again, with it in the
    place of those products.
    """

    current: list[Product | ProductDeletion]


class NoRoom(msgspec.Struct, frozen=True):
    """Redis is full, and a product of the batch takes more memory: nothing is put, the cache stands still."""


class CacheLost(msgspec.Struct, frozen=True):
    """The cache, or a part of it, is gone, or is another generation: `follow` again."""
