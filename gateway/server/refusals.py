"""The problems of requests that are refused as they stand: each is answered, and ends its connection."""

from typing import Any, Final

from sanic.exceptions import BadRequest

from gateway.http.problems import (
    BODIES_FULL,
    BODY_TOO_LARGE,
    HEADERS_TOO_LARGE,
    MALFORMED_REQUEST,
    REQUEST_TIMEOUT,
    URI_TOO_LONG,
    Problem,
    retry_after,
)

HEAD_BYTES: Final = 8192
"""Of a first line with its headers."""
HEADERS: Final = 100
"""Headers of a request."""


class Refused(Problem, BadRequest):
    """A request that ends its connection: where the next one would begin is not known.

    It is a BadRequest as well, for that is what Sanic expects when it reads the rest of a body.
    """

    extra: dict[str, Any]


def malformed(what: str) -> Refused:
    """What RFC 9112 does not allow; `what` goes on after "The request is not valid HTTP/1.1: "."""
    return Refused(MALFORMED_REQUEST, f"The request is not valid HTTP/1.1: {what}.")


def cut_short() -> Refused:
    """The client has ended its side within a request."""
    return malformed("the connection ended before the request did")


def head_too_large(*, in_first_line: bool) -> Refused:
    """A first line or headers beyond the bound."""
    if in_first_line:
        return Refused(URI_TOO_LONG, f"Send a first line of less than {HEAD_BYTES // 1024} KiB.")
    return Refused(
        HEADERS_TOO_LARGE,
        f"Send at most {HEADERS} headers, and {HEAD_BYTES // 1024} KiB of them with the first line.",
    )


def too_large(most: int) -> Refused:
    """A body beyond the bound of `most` bytes."""
    return Refused(BODY_TOO_LARGE, f"Send at most {most} bytes of body; split a large change into several.")


def too_slow(part: str) -> Refused:
    """The client has let us wait for too long for the `part` of the request."""
    return Refused(
        REQUEST_TIMEOUT, f"The {part} did not arrive in time; nothing was done. Send it again without pauses."
    )


def bodies_full() -> Refused:
    """The worker has no room for another large body."""
    return Refused(
        BODIES_FULL,
        "The gateway holds as many large bodies as it may; nothing was done. Send the request again.",
        headers=retry_after(1),
    )
