"""Why a merge is refused."""

from gateway.http.problems import MERGE_NOT_FOUND, MERGED, Problem
from gateway.http.validation import invalid


def merge_not_found() -> Problem:
    """There never was such a merge, or it is none of the caller's business."""
    return Problem(MERGE_NOT_FOUND, "There is no such merge; POST /v1/carts/{cart_id}/merge begins one.")


def not_into_a_guest() -> Problem:
    """The cart in the path is a guest's."""
    return invalid("/guest", "goes into the cart of a user; name that one in the path: user:<id>")


def not_a_guest(advice: str) -> Problem:
    """What is to be merged is no guest's cart."""
    return invalid("/guest", f"is no guest's cart: {advice}")


def merged_elsewhere(into: str | None) -> Problem:
    """The guest's cart has gone into another user's; `into` is told to whom that is nothing new."""
    return Problem(
        MERGED,
        "The guest's cart has been merged into another cart, and it goes into one only; begin a new one.",
        extra={} if into is None else {"into": into},
    )
