"""Where a checkout may be killed: around what its collaborators do for it, step by step.

The product has no hook for this: `install` wraps the collaborators' own methods, in the process that calls
it.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, Final, NamedTuple

from gateway.checkout.delivery import CartDelivery
from gateway.pricing.service import Pricing
from store.postgres import orders, products
from store.redis import CartStore


class KillPoint(NamedTuple):
    """A step of a checkout, and the function after which (or before which) it is done."""

    step: str
    owner: Any
    function: str
    is_before: bool = False


KILL_POINTS: Final = (
    KillPoint("locked", CartStore, "lock_checkout"),
    KillPoint("delivered", CartDelivery, "deliver"),
    KillPoint("priced", Pricing, "price"),
    KillPoint("reserved", products, "reserve"),
    KillPoint("written", orders, "publish"),
    # The transaction has committed, and the subtraction is what comes next.
    KillPoint("placed", CartStore, "subtract", is_before=True),
    KillPoint("subtracted", CartStore, "subtract"),
    KillPoint("published", CartDelivery, "publish"),
)

STEPS: Final = tuple(point.step for point in KILL_POINTS)


def install(
    may_die: Callable[[str], None],
    replace: Callable[[Any, str, Any], None] = setattr,
    points: Sequence[KillPoint] = KILL_POINTS,
) -> None:
    """Call `may_die` with the name of each step; `replace` sets an attribute of a class or a module."""
    for point in points:
        original = getattr(point.owner, point.function)
        replace(point.owner, point.function, _wrapped(original, point, may_die))


def _wrapped(
    original: Callable[..., Awaitable[Any]], point: KillPoint, may_die: Callable[[str], None]
) -> Callable[..., Awaitable[Any]]:
    @wraps(original)
    async def wrapped(*args: Any, **keywords: Any) -> Any:
        if point.is_before:
            may_die(point.step)
        answer = await original(*args, **keywords)
        if not point.is_before:
            may_die(point.step)
        return answer

    return wrapped
