"""Show carts with the hook's adjustments and with what the catalogue says of their lines."""

from typing import Final

import msgspec

from carts.view import CartView
from gateway.carts.reading import CartDocument, Reader
from gateway.pricing.service import Priced, Pricing
from store.redis import StoredCart

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
        return _with(found, cart, await self._pricing.price_shown(cart))


class CatalogueLines:
    """Joins names and images into the carts that changes are answered with."""

    def __init__(self, pricing: Pricing) -> None:
        self._pricing: Final = pricing

    async def shown(self, cart: StoredCart) -> CartDocument:
        """The cart with the products of its lines; the tag has a suffix then. Raises nothing."""
        view = cart.view()
        plain = CartDocument(view.version, cart.json())
        return _with(plain, view, await self._pricing.with_products(view))


def _with(found: CartDocument, cart: CartView, priced: Priced) -> CartDocument:
    suffix = priced.suffix()
    if not suffix:
        return found
    return msgspec.structs.replace(
        found, tag=f"{found.tag}.{suffix}", body=_ENCODER.encode(priced.shown_in(cart))
    )
