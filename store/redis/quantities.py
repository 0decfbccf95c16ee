"""The quantities of single lines of a cart in Redis, without reading the cart."""

from collections.abc import Sequence
from typing import Final

from store.redis.client import PipelinedClient
from store.redis.layout import Layout
from store.redis.packing import LINE_PREFIX


class LineQuantities:
    """Looks at lines of carts, in one command that shares its round trip with whatever else is asked."""

    def __init__(self, client: PipelinedClient, layout: Layout) -> None:
        self._client: Final = client
        self._layout: Final = layout

    async def of(self, cart_id: str, line_ids: Sequence[str]) -> dict[str, int]:
        """The quantity of each line, 0 for what Redis does not have. Raises StoreError.

        A hint, not a fact: the cart may be in Postgres only, or its partition in the middle of a restore.
        """
        if not line_ids:
            return {}
        fields = [LINE_PREFIX + line_id.encode() for line_id in line_ids]
        packed = await self._client.execute(b"HMGET", self._layout.of_cart(cart_id).cart, *fields)
        return {
            line_id: 0 if line is None else max(0, int(line.partition(b" ")[0]))
            for line_id, line in zip(line_ids, packed, strict=True)
        }
