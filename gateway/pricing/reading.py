"""Read carts with the hook's adjustments and warnings of changes in the catalogue."""

from typing import Final

import msgspec

from carts.view import CartView
from gateway.carts.reading import CartDocument, Reader
from gateway.pricing.service import Pricing

_DECODER: Final = msgspec.json.Decoder(CartView)
_ENCODER: Final = msgspec.json.Encoder()


class PricedReader:
    """A reader over another one."""

    def __init__(self, reader: Reader, pricing: Pricing) -> None:
        self._reader: Final = reader
        self._pricing: Final = pricing

    async def read(self, cart_id: str) -> CartDocument:
        """The cart, priced. Its tag has a suffix where it shows more than the version alone tells."""
        found = await self._reader.read(cart_id)
        cart = _DECODER.decode(found.body)
        priced = await self._pricing.price_shown(cart)
        suffix = priced.suffix()
        if not suffix:
            return found
        return msgspec.structs.replace(
            found, tag=f"{found.tag}.{suffix}", body=_ENCODER.encode(priced.shown_in(cart))
        )
