"""What a client asks for next: decided by its seed and by what it last saw of the cart."""

import random
from dataclasses import dataclass, field
from typing import Final

from tests.faults.history import Add, Clear, Note, Remove, Set, Wish

SHARED: Final = "shared"
"""The product that everybody adds; all others belong to one operation each."""


@dataclass
class Cart:
    """A cart as one client last saw it."""

    cart_id: str
    tag: str | None = None
    lines: list[str] = field(default_factory=list)


class Shopper:
    """One client's wishes."""

    def __init__(self, number: int, randomness: random.Random) -> None:
        self._number = number
        self._randomness = randomness
        self._products = 0

    def wish(self, cart: Cart) -> tuple[Wish, ...]:
        """What to ask for. In every second cart only adds, so that plain sums tell whether all is well."""
        if int(cart.cart_id.rpartition("-")[2]) % 2:
            return self._adds(self._randomness.choices((1, 3), (9, 1))[0])
        if not cart.lines:
            return self._adds(1)
        mine = self._randomness.choice(cart.lines)
        wishes: list[tuple[Wish, ...]] = [
            self._adds(1),
            (Set(mine, self._randomness.randint(1, 20)),),
            (Remove(mine),),
            (Clear(),),
            (self._note(),),
            self._several(mine),
        ]
        return self._randomness.choices(wishes, (45, 15, 12, 2, 6, 20))[0]

    def _several(self, mine: str) -> tuple[Wish, ...]:
        """Steps of one request whose order matters."""
        first, second = self._adds(2)
        return self._randomness.choice(
            (
                (first, Set(first.line_id, 7), second),
                (first, Remove(first.line_id), second),
                (Remove(mine), second, Add(mine, 2, _price(mine))),
                (second, self._note()),
                (Clear(), first, second, Add(first.line_id, 1, first.unit_price)),
            )
        )

    def _note(self) -> Note:
        self._products += 1
        return Note(f"{self._number}-{self._products}")

    def _adds(self, count: int) -> tuple[Add, ...]:
        return tuple(self._add() for _ in range(count))

    def _add(self) -> Add:
        self._products += 1
        alone = self._randomness.random() < 0.75
        line_id = f"p{self._number}-{self._products}" if alone else SHARED
        return Add(line_id, self._randomness.randint(1, 3), _price(line_id))


def _price(line_id: str) -> int:
    """Always the same for a product, so that prices need no order."""
    return 100 + sum(line_id.encode()) % 900
