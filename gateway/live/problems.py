"""The problems of streams that are not opened."""

from typing import Final

from gateway.http import problems
from gateway.http.problems import Problem, retry_after

_ANOTHER_PLACE_S: Final = 5.0
_ANOTHER_PAGE_S: Final = 10.0


def too_many_streams(most: int) -> Problem:
    """The answer to one more stream of a cart that has enough."""
    return Problem(
        problems.TOO_MANY_STREAMS,
        f"The cart has {most} streams here; close one, or share one between pages.",
        headers=retry_after(_ANOTHER_PAGE_S),
    )


def streams_exhausted() -> Problem:
    """The answer when the worker has as many streams as it may have."""
    return Problem(
        problems.STREAMS_EXHAUSTED,
        "This worker has as many streams as it may have (CARTSTREAM_LIVE_STREAMS_MAX); "
        "read the cart with GET until there is room.",
        headers=retry_after(_ANOTHER_PLACE_S),
    )
