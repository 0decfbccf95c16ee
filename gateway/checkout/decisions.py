"""What a checkout decides: whether a cart may be ordered, and what has changed under it. Pure functions."""

from collections import Counter
from collections.abc import Mapping

from carts.availability import warnings
from carts.products import Facts
from carts.state import State, Status
from carts.view import CartView, view
from gateway.checkout import problems
from gateway.checkout.problems import Difference
from gateway.http.conditions import Preconditions
from gateway.pricing.service import Priced
from topics.records import OrderLine


def check_may_order(state: State | None) -> State:
    """The state of a cart that may be ordered. Raises the Problem of one that may not."""
    if state is None or state.expired:
        raise problems.cart_empty()
    if state.status is Status.MERGED:
        raise problems.cart_merged(state.merged_into)
    if state.claim is not None:
        raise problems.cart_claimed(state.claim.into)
    return state


def cart_to_order(cart_id: str, state: State) -> CartView:
    """The cart as its client sees it. Raises Problem when it has no lines."""
    cart = view(cart_id, state)
    if not cart.lines:
        raise problems.cart_empty()
    return cart


def quantities_by_product(cart: CartView) -> dict[str, int]:
    """The quantity of each product, summed over the cart's lines."""
    quantities: Counter[str] = Counter()
    for line in cart.lines:
        quantities[line.product_id] += line.quantity
    return dict(quantities)


def differences(cart: CartView, known: Mapping[str, Facts | None]) -> list[Difference]:
    """What has changed since the lines were added.

    `known` has the catalogue's facts of every product in the cart, None for a product that does not exist.
    """
    product_of = {line.line_id: line.product_id for line in cart.lines}
    found = []
    for warning in warnings(cart.lines, cart.currency, known):
        line_id = warning.target or ""
        facts = known[product_of[line_id]]
        if facts is None:
            found.append(Difference(line_id, warning.code, None, None))
        else:
            available = facts.stock if facts.active else 0
            found.append(Difference(line_id, warning.code, facts.unit_price, available, facts.currency))
    return found


def check_total(expected: int | None, total: int, currency: str | None) -> None:
    """Raise Problem unless the order comes to the `expected` total (minor units; None: any)."""
    if expected not in {None, total}:
        raise problems.cart_outdated([], total, currency)


def check_priced(priced: Priced, expected: int | None) -> None:
    """Raise Problem for an order without the pricing hook's answer, unless its very sum is `expected`.

    Nobody is charged without discounts and taxes, and no order lacks its tax, because a hook was slow.
    """
    if not priced.complete and expected != priced.totals.total:
        raise problems.pricing_unavailable(priced.totals.total)


def check_version(preconditions: Preconditions, version: str) -> None:
    """Raise Problem unless the cart may be ordered at this version, its ETag."""
    if not preconditions.hold(version):
        raise problems.cart_changed(version)


def order_lines(cart: CartView, names: Mapping[str, str]) -> list[OrderLine]:
    """The cart's lines as an order has them; `names` by product id, as far as they are known."""
    return [
        OrderLine(
            line.line_id,
            line.product_id,
            line.quantity,
            line.unit_price,
            names.get(line.product_id),
            line.options,
            line.metadata,
        )
        for line in cart.lines
    ]
