"""What the steps of a request cost: the caller's word where there is no catalogue, else the catalogue's."""

import asyncio
from typing import Any, Final, Protocol

import msgspec

from carts.availability import Code, Wish, obstacle
from carts.operations import Add, Clear, Remove
from carts.products import Facts
from gateway.carts.requests import AddWish, Asked, AskedStep, Steps
from gateway.http import problems
from gateway.http.problems import FieldError, Problem, retry_after
from gateway.http.validation import invalid
from store.redis import RequestStep, SetQuantity
from store.redis.catalogue import CacheNotReady, ProductCache
from store.redis.quantities import LineQuantities


class Prices(Protocol):
    """Puts prices to what was asked for."""

    async def steps(self, cart_id: str, asked: Asked) -> Steps:
        """The steps as they are to be applied. Raises Problem for what cannot be had."""
        ...


class StatedPrices:
    """Without a catalogue: who adds states price and currency."""

    async def steps(self, _: str, asked: Asked) -> Steps:
        """The same steps; Problem where an add lacks a price or a currency."""
        steps: list[RequestStep] = []
        for step in asked.steps:
            if not isinstance(step, AddWish):
                steps.append(step)
            elif step.unit_price is None or step.currency is None:
                missing = "unit_price" if step.unit_price is None else "currency"
                raise invalid(
                    f"{asked.pointer(len(steps))}/{missing}",
                    "is required, for this gateway has no catalogue; add it",
                )
            else:
                steps.append(_add(step, step.unit_price, step.currency))
        return tuple(steps)


class CataloguePrices:
    """With a catalogue: adds and sets have its price, and are refused when they cannot be had.

    Checked is what is at hand without another round trip: the pieces wished, with those that the named lines
    of the cart have already. Other lines of the product are left to the warnings and to the checkout.
    """

    def __init__(self, catalogue: ProductCache, quantities: LineQuantities) -> None:
        self._catalogue: Final = catalogue
        self._quantities: Final = quantities

    async def steps(self, cart_id: str, asked: Asked) -> Steps:
        """The steps with the catalogue's prices of now. Raises Problem for the first that cannot be had."""
        line_ids = list(
            dict.fromkeys(step.line_id for step in asked.steps if isinstance(step, AddWish | SetQuantity))
        )
        if not line_ids:
            return asked.steps  # type: ignore[return-value]  # removals and metadata cost nothing
        known, held = await asyncio.gather(
            self._catalogue.facts([_product_id(line_id) for line_id in line_ids]),
            self._quantities.of(cart_id, line_ids),
        )
        if isinstance(known, CacheNotReady):
            raise catalogue_restoring()
        basket = _Basket(known, held)
        return tuple(basket.take(step, asked.pointer(index)) for index, step in enumerate(asked.steps))


class _Basket:
    """The lines that a request names, as they become step by step."""

    def __init__(self, known: dict[str, Facts | None], held: dict[str, int]) -> None:
        self._known = known
        self._held = dict(held)

    def take(self, step: AskedStep, pointer: str) -> RequestStep:
        match step:
            case AddWish():
                facts = self._check(step, step.quantity + self._held[step.line_id], pointer)
                return _add(step, facts.unit_price, facts.currency)
            case SetQuantity():
                if self._known[_product_id(step.line_id)] is None and not self._held[step.line_id]:
                    return step  # no such line, very likely: the cart knows better
                facts = self._check(step, step.quantity, pointer)
                return msgspec.structs.replace(step, unit_price=facts.unit_price, currency=facts.currency)
            case Remove() if step.line_id in self._held:
                self._held[step.line_id] = 0
            case Clear():
                self._held = dict.fromkeys(self._held, 0)
            case _:
                pass
        return step

    def _check(self, step: AddWish | SetQuantity, quantity: int, pointer: str) -> Facts:
        product_id = _product_id(step.line_id)
        facts = self._known[product_id]
        self._held[step.line_id] = quantity
        pieces = sum(held for line_id, held in self._held.items() if _product_id(line_id) == product_id)
        code = obstacle(Wish(pieces, step.unit_price, step.currency), facts)
        if facts is None or code is not None:
            raise _refusal(code, product_id, facts, pieces, pointer)
        return facts


def catalogue_restoring() -> Problem:
    """The answer while the catalogue in Redis is not complete."""
    return Problem(
        problems.CATALOGUE_RESTORING,
        "The catalogue is being restored; nothing was changed. "
        "Send the request again, with the same Idempotency-Key if it changes the cart.",
        headers=retry_after(1),
    )


def _add(wish: AddWish, unit_price: int, currency: str) -> Add:
    return Add(wish.line_id, wish.quantity, unit_price, currency, wish.item, wish.metadata)


def _product_id(line_id: str) -> str:
    return line_id.partition("~")[0]


def _refusal(code: Code | None, product_id: str, facts: Facts | None, pieces: int, pointer: str) -> Problem:
    extra: dict[str, Any] = {"product_id": product_id}
    if facts is None:
        detail = f"the catalogue has no product {product_id}; GET /v1/products lists what there is"
        return _at(problems.PRODUCT_UNKNOWN, pointer, detail, extra)
    if code is Code.PRODUCT_INACTIVE:
        detail = f"{product_id} is not sold any more; remove its line from the cart"
        return _at(problems.PRODUCT_INACTIVE, pointer, detail, extra)
    if code is Code.PRICE_CHANGED:
        extra |= {"unit_price": facts.unit_price, "currency": facts.currency}
        detail = (
            f"{product_id} costs {facts.unit_price} (minor units) {facts.currency} now; "
            "show the shopper that price, then send it, or none"
        )
        return _at(problems.PRICE_CHANGED, pointer, detail, extra)
    detail = f"there are {facts.stock} pieces of {product_id}, the cart would have {pieces}; ask for fewer"
    return _at(problems.SHORT_STOCK, pointer, detail, extra | {"available": facts.stock})


def _at(kind: problems.ProblemType, pointer: str, detail: str, extra: dict[str, Any]) -> Problem:
    sentence = f"{pointer}: {detail}." if pointer else f"{detail[0].upper()}{detail[1:]}."
    return Problem(kind, sentence, errors=[FieldError(pointer, detail)], extra=extra)
