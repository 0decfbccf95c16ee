"""Why a request about the history of a cart is refused: one problem each."""

from datetime import datetime

from gateway.http import problems
from gateway.http.problems import Problem


def no_history() -> Problem:
    """This gateway has no history."""
    return Problem(
        problems.NO_HISTORY,
        "There is no history of carts here: CARTSTREAM_HISTORY is not true for this gateway.",
    )


def not_in_history(known_from: datetime | None, kept_from: datetime | None) -> Problem:
    """The cart is known from a later time on, or never: its first operations are not in the history."""
    if known_from is not None:
        detail = "The history knows the cart from known_from on; ask for a later time."
    elif kept_from is not None:
        detail = (
            "The cart is older than its history: its operations are kept from kept_from on, and what it held "
            "before them is not known. Read the operations instead."
        )
    else:
        detail = "The history has no operation of this cart."
    return Problem(problems.NOT_IN_HISTORY, detail, extra={"known_from": known_from, "kept_from": kept_from})


def too_long(most: int) -> Problem:
    """To fold that many operations would keep other requests waiting."""
    return Problem(
        problems.HISTORY_TOO_LONG,
        f"Up to that time the cart has more than {most} operations; ask for an earlier time, or read them.",
    )


def incomplete() -> Problem:
    """An operation names one before it that is not there."""
    return Problem(
        problems.HISTORY_INCOMPLETE,
        "An operation is missing: it is on its way to the history, or it never got there. "
        "Ask again in some seconds; if the answer stays the same, read the operations instead.",
    )
