"""Why a request about an order is refused: one problem each."""

from gateway.http.problems import ORDER_NOT_FOUND, ORDERS_ELSEWHERE, Problem


def order_not_found() -> Problem:
    """There is no such order."""
    return Problem(ORDER_NOT_FOUND, "There is no order with this id; the reply of the checkout has the id.")


def orders_elsewhere() -> Problem:
    """Another system keeps the orders."""
    return Problem(
        ORDERS_ELSEWHERE,
        "CARTSTREAM_ORDERS_OWNER is external: cancel the order in the system that keeps it.",
    )
