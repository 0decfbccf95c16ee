"""The catalogue as merges ask it."""

from collections.abc import Iterable, Mapping
from typing import Final

from carts.products import Facts
from merges.saga import MergeWaits
from store.redis import PipelinedClient
from store.redis.catalogue import CacheNotReady, ProductCache


class CachedCatalogue:
    """The product cache; no catalogue at all where callers name the prices."""

    def __init__(self, client: PipelinedClient, *, callers_name_prices: bool) -> None:
        self._cache: Final = None if callers_name_prices else ProductCache(client)

    async def facts(self, product_ids: Iterable[str]) -> Mapping[str, Facts | None] | None:
        """What is known of each product, None where callers name the prices. Raises MergeWaits."""
        if self._cache is None:
            return None
        known = await self._cache.facts(product_ids)
        if isinstance(known, CacheNotReady):
            raise MergeWaits("the catalogue is being restored")
        return known
