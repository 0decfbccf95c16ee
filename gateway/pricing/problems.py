"""The problems of steps that the catalogue refuses."""

from collections.abc import Sequence
from typing import Any

from carts.availability import Code
from carts.products import Facts
from gateway.http import problems
from gateway.http.problems import FieldError, Problem, retry_after
from gateway.http.validation import escape


def catalogue_restoring() -> Problem:
    """The answer while the catalogue in Redis is not complete."""
    return Problem(
        problems.CATALOGUE_RESTORING,
        "The catalogue is being restored; nothing was changed. "
        "Send the request again, with the same Idempotency-Key if it changes the cart.",
        headers=retry_after(1),
    )


def price_not_yours() -> Problem:
    """Without a catalogue the price is the caller's word: no shopper's."""
    return Problem(
        problems.FORBIDDEN,
        "This gateway has no catalogue, so prices are stated by services only: let the shop's backend add "
        "products, with a token that has the scope carts.",
    )


def cannot_be_had(
    code: Code | None, product_id: str, facts: Facts | None, quantity: int, pointer: str
) -> Problem:
    """Why a product cannot be had, and what to do about it; `facts` none: there is no such product.

    `quantity` is what the cart would have, `pointer` the place in the body.
    """
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
    if code is Code.CURRENCY_CHANGED:
        extra |= {"unit_price": facts.unit_price, "currency": facts.currency}
        detail = (
            f"{product_id} costs {facts.unit_price} (minor units) {facts.currency} now; show the shopper "
            "that price and remove what the cart has in another currency, then send the new price, or none"
        )
        return _at(problems.CURRENCY_CHANGED, pointer, detail, extra)
    detail = f"there are {facts.stock} pieces of {product_id}, the cart would have {quantity}; ask for fewer"
    return _at(problems.SHORT_STOCK, pointer, detail, extra | {"available": facts.stock})


def option_not_offered(name: str, values: Sequence[str], pointer: str) -> Problem:
    """An option of the product is not chosen, or has another value than the product offers."""
    detail = f"send one of {', '.join(values)}"
    return _at(
        problems.OPTION_NOT_OFFERED,
        f"{pointer}/options/{escape(name)}",
        detail,
        {"option": name, "values": list(values)},
    )


def _at(kind: problems.ProblemType, pointer: str, detail: str, extra: dict[str, Any]) -> Problem:
    sentence = f"{pointer}: {detail}." if pointer else f"{detail[0].upper()}{detail[1:]}."
    return Problem(kind, sentence, errors=[FieldError(pointer, detail)], extra=extra)
