"""The prices of a command's steps: the catalogue's, or the caller's where there is no catalogue."""

import asyncio
from typing import Final

import msgspec

from carts.availability import ProductRequest, obstacle, wrong_option
from carts.ids import product_id_of
from carts.operations import Add, Clear, Remove
from carts.products import Facts
from gateway.carts.commands import AddProduct, ChangeCommand, CommandStep
from gateway.http.problems import Problem
from gateway.http.validation import invalid
from gateway.pricing.problems import cannot_be_had, catalogue_restoring, option_not_offered, price_not_yours
from store.redis import RequestStep, SetQuantity
from store.redis.catalogue import CacheNotReady, ProductCache
from store.redis.quantities import LineQuantities


class StatedPrices:
    """Without a catalogue: the caller states price and currency of an add."""

    async def price(self, command: ChangeCommand) -> tuple[RequestStep, ...] | Problem:
        """The same steps; the problem where an add lacks price or currency, or the caller may state none."""
        steps: list[RequestStep] = []
        for index, step in enumerate(command.steps):
            if not isinstance(step, AddProduct):
                steps.append(step)
            elif not command.caller.may_state_prices:
                return price_not_yours()
            elif step.unit_price is None or step.currency is None:
                missing = "unit_price" if step.unit_price is None else "currency"
                return invalid(
                    f"{command.pointer(index)}/{missing}",
                    "is required, for this gateway has no catalogue; add it",
                )
            else:
                steps.append(_add(step, step.unit_price, step.currency))
        return tuple(steps)


class CataloguePrices:
    """With a catalogue: adds and sets get its price, and are refused when the product cannot be had.

    The check covers what one round trip shows: the requested quantity and what the same lines of the cart
    already have. Other lines of the product are checked by the warnings on reads and by the checkout.
    """

    def __init__(self, catalogue: ProductCache, quantities: LineQuantities) -> None:
        self._catalogue: Final = catalogue
        self._quantities: Final = quantities

    async def price(self, command: ChangeCommand) -> tuple[RequestStep, ...] | Problem:
        """The steps with the catalogue's prices of now; the problem of the first that cannot be had."""
        priced = (step.line_id for step in command.steps if isinstance(step, AddProduct | SetQuantity))
        line_ids = list(dict.fromkeys(priced))
        if not line_ids:
            return command.steps  # type: ignore[return-value]  # removals and metadata cost nothing
        known, held = await asyncio.gather(
            self._catalogue.facts([product_id_of(line_id) for line_id in line_ids]),
            self._quantities.of(command.cart_id, line_ids),
        )
        if isinstance(known, CacheNotReady):
            return catalogue_restoring()
        quantities = _Quantities(known, held)
        steps: list[RequestStep] = []
        for index, step in enumerate(command.steps):
            taken = quantities.take(step, command.pointer(index))
            if isinstance(taken, Problem):
                return taken
            steps.append(taken)
        return tuple(steps)


class _Quantities:
    """The quantities of the lines in a command, updated step by step."""

    def __init__(self, known: dict[str, Facts | None], held: dict[str, int]) -> None:
        self._known = known
        self._held = dict(held)

    def take(self, step: CommandStep, pointer: str) -> RequestStep | Problem:
        match step:
            case AddProduct():
                facts = self._check(step, step.quantity + self._held[step.line_id], pointer)
                if isinstance(facts, Problem):
                    return facts
                return _add(step, facts.unit_price, facts.currency)
            case SetQuantity():
                if self._known[product_id_of(step.line_id)] is None and not self._held[step.line_id]:
                    return step  # most likely there is no such line: the script decides
                facts = self._check(step, step.quantity, pointer)
                if isinstance(facts, Problem):
                    return facts
                return msgspec.structs.replace(step, unit_price=facts.unit_price, currency=facts.currency)
            case Remove() if step.line_id in self._held:
                self._held[step.line_id] = 0
            case Clear():
                self._held = dict.fromkeys(self._held, 0)
            case _:
                pass
        return step

    def _check(self, step: AddProduct | SetQuantity, quantity: int, pointer: str) -> Facts | Problem:
        product_id = product_id_of(step.line_id)
        facts = self._known[product_id]
        self._held[step.line_id] = quantity
        total = sum(held for line_id, held in self._held.items() if product_id_of(line_id) == product_id)
        code = obstacle(ProductRequest(total, step.unit_price, step.currency), facts)
        if facts is None or code is not None:
            return cannot_be_had(code, product_id, facts, total, pointer)
        wrong = wrong_option(step.item.options, facts) if isinstance(step, AddProduct) else None
        return facts if wrong is None else option_not_offered(wrong, facts.options[wrong], pointer)


def _add(step: AddProduct, unit_price: int, currency: str) -> Add:
    return Add(step.line_id, step.quantity, unit_price, currency, step.item, step.metadata)
