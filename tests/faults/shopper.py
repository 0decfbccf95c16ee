"""What a client asks for next: decided by its seed and by what it last saw of the cart."""

import random
from dataclasses import dataclass, field

from tests.faults.catalogue import OWN, WANTED, Counted, price
from tests.faults.history import Add, Clear, Command, Detail, Note, Remove, Save, Set


@dataclass
class Cart:
    """A cart as one client last saw it. The number in its name says what may happen to it."""

    cart_id: str
    tag: str | None = None
    lines: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    """Lines for which it could not be ordered, since nobody has taken them out."""

    @property
    def only_grows(self) -> bool:
        """Every second cart: only adds, so that plain sums tell whether all is well."""
        return self._number % 2 == 1

    @property
    def may_be_erased(self) -> bool:
        """Half of the carts of either kind."""
        return self._number % 4 in {0, 3}

    @property
    def may_be_ordered(self) -> bool:
        """Not those that only grow and are erased: sums could not tell what was ordered before."""
        return self._number % 4 != 3

    @property
    def _number(self) -> int:
        return int(self.cart_id.rpartition("-")[2])


class Shopper:
    """One client's commands."""

    def __init__(self, number: int, randomness: random.Random, counted: Counted) -> None:
        self._number = number
        self._randomness = randomness
        self._counted = counted
        self._notes = 0

    def next_commands(self, cart: Cart) -> tuple[Command, ...]:
        """What to ask for.

        Where only adds happen, only of what never sells out: nobody takes a line out that cannot be ordered.
        """
        if cart.only_grows:
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
            (self._detail(),),
            self._save(mine),
            self._several(mine),
        ]
        return self._randomness.choices(commands, (40, 15, 12, 2, 5, 4, 7, 15))[0]

    def _save(self, mine: str) -> tuple[Command, ...]:
        """Put something on the list beside the cart, out of the cart too, or take it off again."""
        pieces = self._randomness.randint(0, 3)
        if self._randomness.random() < 0.3:
            return (Remove(mine), Save(mine, max(pieces, 1)))
        return (Save(self._randomness.choice(WANTED), pieces),)

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
                (Save(first.line_id, 0), first),
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
