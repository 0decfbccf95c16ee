"""Whom each route is for, and which kinds of callers may use it. Pure.

Whose a single order or merge is shows only once it is found: the services of these features decide that
(`gateway/orders/service.py`). Somebody else's cart is answered like one that does not exist: nobody learns
from the answer that it does.
"""

from enum import StrEnum
from typing import Final

from gateway.identity.principal import Kind, Principal, Scope


class Access(StrEnum):
    """Whom a route is for."""

    PUBLIC = "public"
    """Everybody."""
    CART = "cart"
    """The cart's owner, and services with the scope `carts`."""
    CART_STREAM = "cart_stream"
    """As CART, and whoever has a ticket for the cart: the guard takes it."""
    ORDERS = "orders"
    """The cart's owner, and services with the scope `orders`."""
    CHECKOUT = "checkout"
    """As ORDERS, or as ORDERS_SERVICE where another system keeps the orders: the guard knows which."""
    ORDER = "order"
    """Whoever is known; `gateway/orders/service.py` compares the owner once it has found the order."""
    MERGE = "merge"
    """As ORDER, of a merge."""
    ORDERS_SERVICE = "orders_service"
    """Services with the scope `orders` only: the system that keeps the orders."""
    CATALOGUE = "catalogue"
    """Services with the scope `catalogue`."""
    SERVICE = "service"
    """Any service."""


SERVICES_ONLY: Final = frozenset({Access.ORDERS_SERVICE, Access.CATALOGUE, Access.SERVICE})
"""No guest and no shopper gets through."""


class Decision(StrEnum):
    """Whether a caller may go on, and else how it is refused."""

    ALLOWED = "allowed"
    UNAUTHENTICATED = "unauthenticated"
    """401: a proof would help."""
    FORBIDDEN = "forbidden"
    """403: no proof of this caller's kind helps."""
    HIDDEN = "hidden"
    """404: there may or may not be such a thing."""


_SCOPES: Final = {
    Access.CART: Scope.CARTS,
    Access.CART_STREAM: Scope.CARTS,
    Access.ORDERS: Scope.ORDERS,
    Access.CHECKOUT: Scope.ORDERS,
    Access.ORDERS_SERVICE: Scope.ORDERS,
    Access.CATALOGUE: Scope.CATALOGUE,
}


def decide(principal: Principal, access: Access, cart_id: str | None = None) -> Decision:
    """Whether the caller may use a route, which is about `cart_id` if there is one in its path."""
    if access is Access.PUBLIC or principal.kind is Kind.OPEN:
        return Decision.ALLOWED
    if principal.kind is Kind.ANONYMOUS:
        return Decision.UNAUTHENTICATED
    if access in {Access.ORDER, Access.MERGE}:
        return Decision.ALLOWED
    if principal.kind is Kind.SERVICE:
        return Decision.ALLOWED if _has_scope(principal, access) else Decision.FORBIDDEN
    return _for_shopper(principal, access, cart_id)


def _has_scope(service: Principal, access: Access) -> bool:
    scope = _SCOPES.get(access)
    return scope is None or scope in service.scopes


def _for_shopper(principal: Principal, access: Access, cart_id: str | None) -> Decision:
    if access in {Access.CATALOGUE, Access.SERVICE}:
        return Decision.FORBIDDEN
    is_own = cart_id is not None and principal.owns(cart_id)
    return Decision.ALLOWED if is_own and access is not Access.ORDERS_SERVICE else Decision.HIDDEN
