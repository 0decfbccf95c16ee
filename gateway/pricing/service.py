"""The price of a cart: the hook's adjustments, the totals, and what the catalogue says of its lines."""

from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Final, Protocol

import msgspec

from carts.availability import warnings
from carts.products import Facts
from carts.view import Adjustment, CartView, CartWarning, Totals, totals_of
from gateway.carts.shown import ShownProduct, joined, joined_saved, shown_products
from store.redis import StoreError
from store.redis.catalogue import CacheNotReady, ProductCache

_ENCODER: Final = msgspec.json.Encoder()
_SUFFIX_BYTES: Final = 6


class HookAnswer(msgspec.Struct, frozen=True):
    """What a pricing hook says about a cart."""

    adjustments: Annotated[list[Adjustment], msgspec.Meta(max_length=100)] = []
    warnings: Annotated[list[CartWarning], msgspec.Meta(max_length=100)] = []


class Hook(Protocol):
    """Asks the shop's own service what a cart costs."""

    async def open(self) -> None:
        """Get ready, in the loop that asks."""

    async def close(self) -> None:
        """Let go."""

    async def ask(self, cart: CartView) -> HookAnswer | None:
        """The answer; None when there is none in time."""


class PricingWarning(StrEnum):
    """Codes of warnings about the whole cart."""

    PRICING_UNAVAILABLE = "pricing_unavailable"
    """The pricing hook did not answer: discounts and taxes are missing."""
    CATALOGUE_UNAVAILABLE = "catalogue_unavailable"
    """The catalogue is being restored: whether prices and stock have changed is not known."""


class Priced(msgspec.Struct, frozen=True):
    """What is shown with a cart, and the sums that follow; `products` by id, as far as they are known.

    `complete` is false where the pricing hook did not answer: discounts and taxes are missing.
    """

    adjustments: list[Adjustment]
    warnings: list[CartWarning]
    totals: Totals
    products: dict[str, ShownProduct] = {}
    complete: bool = True

    def suffix(self) -> str:
        """Distinguishes what is shown with the same version of a cart; empty for the plain totals."""
        if not self.adjustments and not self.warnings and not self.products:
            return ""
        return blake2b(_ENCODER.encode(self), digest_size=_SUFFIX_BYTES).hexdigest()

    def shown_in(self, cart: CartView) -> CartView:
        """The cart with it."""
        return msgspec.structs.replace(
            cart,
            adjustments=self.adjustments,
            warnings=self.warnings,
            totals=self.totals,
            lines=joined(cart.lines, self.products) if self.products else cart.lines,
            saved=joined_saved(cart.saved, self.products) if self.products else cart.saved,
        )


class Pricing:
    """Prices carts. Without catalogue and hook there is nothing to add to a cart."""

    def __init__(self, catalogue: ProductCache | None, hook: Hook | None) -> None:
        self._catalogue: Final = catalogue
        self._hook: Final = hook

    async def open(self) -> None:
        """Get ready, in the loop that serves."""
        if self._hook is not None:
            await self._hook.open()

    async def close(self) -> None:
        """Let go."""
        if self._hook is not None:
            await self._hook.close()

    async def price(self, cart: CartView) -> Priced:
        """The hook's adjustments and warnings for `cart`, and its totals with them.

        Without a hook or lines: the plain sums. A hook that fails: the plain sums, and a warning
        `pricing_unavailable`. Raises nothing.
        """
        if self._hook is None or not cart.lines:
            return Priced([], [], totals_of(cart.totals.subtotal))
        answer = await self._hook.ask(cart)
        if answer is None:
            missing = CartWarning(PricingWarning.PRICING_UNAVAILABLE.value)
            return Priced([], [missing], totals_of(cart.totals.subtotal), complete=False)
        return Priced(
            answer.adjustments, answer.warnings, totals_of(cart.totals.subtotal, answer.adjustments)
        )

    async def price_shown(self, cart: CartView) -> Priced:
        """As `price`, with the products of the lines, and warnings of what has changed since they were added.

        The warnings of the catalogue come first.
        """
        if self._catalogue is None or not (cart.lines or cart.saved):
            return await self.price(cart)
        known = await self._known(self._catalogue, cart)
        priced = await self.price(cart)
        if isinstance(known, CacheNotReady):
            changed = [CartWarning(PricingWarning.CATALOGUE_UNAVAILABLE.value)]
            return msgspec.structs.replace(priced, warnings=changed + priced.warnings)
        return msgspec.structs.replace(
            priced,
            warnings=warnings(cart.lines, cart.currency, known) + priced.warnings,
            products=shown_products(known),
        )

    async def with_products(self, cart: CartView) -> Priced:
        """The plain sums and the products of the lines, as far as they are known. Raises nothing."""
        plain = Priced([], [], totals_of(cart.totals.subtotal))
        if self._catalogue is None or not (cart.lines or cart.saved):
            return plain
        known = await self._known(self._catalogue, cart)
        if isinstance(known, CacheNotReady):
            return plain
        return msgspec.structs.replace(plain, products=shown_products(known))

    async def facts(self, cart: CartView) -> dict[str, Facts | None] | CacheNotReady | None:
        """What the catalogue knows of the products in the cart's lines; None without a catalogue."""
        return None if self._catalogue is None else await self._known(self._catalogue, cart)

    async def _known(
        self, catalogue: ProductCache, cart: CartView
    ) -> dict[str, Facts | None] | CacheNotReady:
        try:
            return await catalogue.facts(
                [line.product_id for line in cart.lines] + [line.product_id for line in cart.saved]
            )
        except StoreError as error:
            if not error.retriable:
                raise
            return CacheNotReady()
