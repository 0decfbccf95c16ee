"""Who a request comes from."""

from enum import StrEnum
from typing import Final

import msgspec


class Kind(StrEnum):
    """What a caller has proved to be."""

    OPEN = "open"
    """Development mode: nothing is asked, everything is allowed."""
    ANONYMOUS = "anonymous"
    GUEST = "guest"
    SHOPPER = "shopper"
    SERVICE = "service"


class Scope(StrEnum):
    """What a service token may be good for."""

    CARTS = "carts"
    ORDERS = "orders"
    CATALOGUE = "catalogue"


class Principal(msgspec.Struct, frozen=True):
    """A caller. `carts` are the ids of the carts it has proved to be its own, the first one is its main one.

    `actor` stands in the changes that it makes: `user:42`, `guest:…`, `service:shop`, or
    `service:shop for user:42` where a service acts for somebody.
    """

    kind: Kind
    carts: tuple[str, ...] = ()
    scopes: frozenset[Scope] = frozenset()
    actor: str | None = None

    def owns(self, cart_id: str) -> bool:
        """Whether the cart is the caller's own."""
        return self.kind is Kind.OPEN or cart_id in self.carts

    def may(self, cart_id: str, scope: Scope) -> bool:
        """Whether the caller may do with the cart what its owner may; services need the scope."""
        return self.owns(cart_id) or scope in self.scopes

    @property
    def is_trusted(self) -> bool:
        """Whether the caller may see what shoppers may not: inactive products, details of readiness."""
        return self.kind in {Kind.OPEN, Kind.SERVICE}

    @property
    def may_state_prices(self) -> bool:
        """Whether a price is believed because this caller says so."""
        return self.kind is Kind.OPEN or Scope.CARTS in self.scopes


OPEN: Final = Principal(Kind.OPEN)
ANONYMOUS: Final = Principal(Kind.ANONYMOUS)
