"""The catalogue: products in Redis for reading; `owner` is for Postgres, where this system owns them."""

from store.redis.catalogue.cache import ProductCache
from store.redis.catalogue.results import (
    CacheLost,
    CacheNotReady,
    Following,
    NoRoom,
    Page,
    ProductDeletion,
    ProductsPut,
    Regressed,
)

__all__ = [
    "CacheLost",
    "CacheNotReady",
    "Following",
    "NoRoom",
    "Page",
    "ProductCache",
    "ProductDeletion",
    "ProductsPut",
    "Regressed",
]
