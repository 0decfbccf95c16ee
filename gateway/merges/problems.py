"""Why a merge is refused."""

from gateway.http.problems import MERGE_NOT_FOUND, MERGED, Problem
from gateway.http.validation import invalid


def merge_not_found() -> Problem:
    """There never was such a merge, or it is none of the caller's business."""
    return Problem(MERGE_NOT_FOUND, "There is no such merge; POST /v1/carts/{cart_id}/merge begins one.")


def not_one_guest() -> Problem:
    """The body names no guest's cart, or two."""
    return invalid("/guest", "is required, or `session` instead of it; send one of the two")


def into_itself(field: str) -> Problem:
    """What is to be merged is the cart in the path."""
    return invalid(f"/{field}", "is the cart in the path; name another guest's")


def no_sessions() -> Problem:
    """A session id proves nothing here."""
    return invalid("/session", "proves nothing here: the gateway has no CARTSTREAM_SESSION_KEY; send `guest`")


def goes_on(into: str) -> Problem:
    """The cart in the path is merged into another one itself."""
    return Problem(
        MERGED,
        "The cart in the path has been merged, or is about to be; merge into the one named in `into`.",
        extra={"into": into},
    )


def not_a_guest(advice: str) -> Problem:
    """What is to be merged is no guest's cart."""
    return invalid("/guest", f"is no guest's cart: {advice}")


def merged_elsewhere(into: str | None) -> Problem:
    """The guest's cart has gone into another one; `into` is told to whom that is nothing new."""
    return Problem(
        MERGED,
        "The guest's cart has been merged into another cart, and it goes into one only; begin a new one.",
        extra={} if into is None else {"into": into},
    )
