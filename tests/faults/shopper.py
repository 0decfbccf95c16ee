"""What a client asks for next: decided by its seed and by what it last saw of the cart."""

import random
from dataclasses import dataclass, field

from tests.faults.catalogue import OWN, Counted, price
from tests.faults.history import Add, Clear, Command, Detail, Note, Remove, Set


@dataclass
class Cart:
    """A cart as one client last saw it."""

    cart_id: str
    tag: str | None = None
    lines: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    """Lines for which it could not be ordered, since nobody has taken them out."""


class Shopper:
    """One client's commands."""

    def __init__(self, number: int, randomness: random.Random, counted: Counted) -> None:
        self._number = number
        self._randomness = randomness
        self._counted = counted
        self._notes = 0

    def next_commands(self, cart: Cart) -> tuple[Command, ...]:
        """What to ask for. In every second cart only adds, so that plain sums tell whether all is well.

        There only of what never sells out: nobody takes a line out again that cannot be ordered.
        """
        if int(cart.cart_id.rpartition("-")[2]) % 2:
            return self._adds(self._randomness.choices((1, 3), (9, 1))[0])
        if cart.outdated:
            removals = tuple(Remove(line_id) for line_id in cart.outdated)
            cart.outdated = []
            return removals
        if self._randomness.random() < 0.1:
            return (self._add(self._randomness.choice(self._counted.rare)),)
        if not cart.lines:
            return self._adds(1)
        mine = self._randomness.choice(cart.lines)
        commands: list[tuple[Command, ...]] = [
            self._adds(1),
            (Set(mine, self._randomness.randint(1, 20)),),
            (Remove(mine),),
            (Clear(),),
            (self._note(),),
            self._several(mine),
        ]
        return self._randomness.choices(commands, (45, 15, 12, 2, 6, 20))[0]

    def _several(self, mine: str) -> tuple[Command, ...]:
        """Steps of one request whose order matters."""
        first, second = self._adds(2)
        return self._randomness.choice(
            (
                (first, Set(first.line_id, 7), second),
                (first, Remove(first.line_id), second),
                (Remove(mine), second, Add(mine, 2, price(mine))),
                (second, self._note()),
                (self._detail(), first),
                (Clear(), first, second, Add(first.line_id, 1, first.unit_price)),
            )
        )

    def _note(self) -> Note:
        self._notes += 1
        return Note(f"{self._number}-{self._notes}")

    def _detail(self) -> Detail:
        self._notes += 1
        return Detail(f"{self._number}-{self._notes}@example.org")

    def _adds(self, count: int) -> tuple[Add, ...]:
        return tuple(self._add(self._product()) for _ in range(count))

    def _product(self) -> str:
        alone = self._randomness.random() < 0.75
        return self._randomness.choice(OWN) if alone else self._counted.shared

    def _add(self, product_id: str) -> Add:
        return Add(product_id, self._randomness.randint(1, 3), price(product_id))
