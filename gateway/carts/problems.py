"""The problem for each reason why the store refuses a change."""

from collections.abc import Callable, Mapping
from typing import Final

from carts.protocol import Durability
from gateway.http import problems
from gateway.http.problems import FieldError, Problem, ProblemType, retry_after, store_full
from store.redis import Reason, Refused

_LIMITS: Final = {
    "lines": "shows at most {bound} lines; remove some first",
    "tracked_lines": "has seen {bound} different lines; clear it to start over",
    "saved_lines": "saves at most {bound} lines for later; take some off the list first",
    "quantity": "holds at most {bound} pieces of a line; send a smaller quantity",
    "metadata_bytes": "takes at most {bound} bytes of metadata; keep large values elsewhere",
    "content_bytes": "takes at most {bound} bytes of lines and metadata; remove some first",
    "window_bytes": "remembers at most {bound} bytes of changes, and this alone takes more; split it",
    "subtotal": "sums up to at most {bound} minor units; send a smaller quantity",
}


Pointer = Callable[[int], str]
"""Where in the body a step stands (RFC 6901)."""


def problem_of(refused: Refused, pointer: Pointer) -> Problem:
    """The problem of a refused change: why it was refused, where, and what to do about it.

    The service retries on RESTORING and UNKNOWN_CART; here they mean that the time was not enough.
    NOT_APPLIED never gets here.
    """
    return _PROBLEMS[refused.reason](refused, pointer)


def being_ordered(ttl_ms: int) -> Problem:
    """The answer to an erasure while a checkout of the cart is under way."""
    return Problem(
        problems.CHECKOUT_IN_PROGRESS,
        "The cart is being ordered; send the request again after Retry-After.",
        headers=retry_after(min(ttl_ms / 1000, 2)),
    )


def restoring() -> Problem:
    """The answer while the cart's partition is not authoritative."""
    return Problem(
        problems.RESTORING,
        "The carts of this partition are being restored; nothing was changed. "
        "Send the request again, with the same Idempotency-Key if it changes the cart.",
        headers=retry_after(1),
    )


def database_unavailable() -> Problem:
    """The answer when only Postgres can know the cart, and does not answer."""
    return Problem(
        problems.DATABASE_UNAVAILABLE,
        "The cart is not in the live store and the database did not answer; nothing was changed. "
        "Send the request again, with the same Idempotency-Key if it changes the cart.",
        headers=retry_after(1),
    )


def durability_not_reached(reached: Durability, preferred: Durability) -> Problem:
    """The answer to a strict preference for a durability that was not reached in time."""
    return Problem(
        problems.DURABILITY_NOT_REACHED,
        f"The change is made and has durability {reached}, not {preferred}; it will get there. "
        "Sending it again with the same Idempotency-Key never applies it twice and tells how far it is.",
        headers={**retry_after(1), "preference-applied": f"durability={reached}, handling=strict"},
    )


def _restoring(_: Refused, __: Pointer) -> Problem:
    return restoring()


def too_old() -> Problem:
    """The answer to a request that may be a retry of one long ago."""
    return Problem(
        problems.TOO_OLD,
        "The first attempt is so long ago that a retry could apply twice; read the cart, "
        "then send the change with a new Idempotency-Key if it is still wanted.",
    )


def _key_reused(_: Refused, __: Pointer) -> Problem:
    return Problem(
        problems.KEY_REUSED,
        "This Idempotency-Key has been used on this cart with another change; "
        "use a new key for each new change.",
    )


def _precondition_failed(refused: Refused, _: Pointer) -> Problem:
    return Problem(
        problems.PRECONDITION_FAILED,
        "The cart is not at a version that If-Match or If-None-Match allows; "
        "read it, decide again, and send its ETag.",
        headers={"etag": f'"{refused.tag}"'},
        extra={"current": refused.tag},
    )


def _claimed(refused: Refused, _: Pointer) -> Problem:
    return Problem(
        problems.CLAIMED,
        "The cart is being merged into the one named; wait a moment, then change that one.",
        headers=retry_after(1),
        extra={"into": refused.into},
    )


def _merged(refused: Refused, _: Pointer) -> Problem:
    return Problem(
        problems.MERGED,
        "The cart has been merged; change the one named instead.",
        extra={"into": refused.into},
    )


def _limit(refused: Refused, pointer: Pointer) -> Problem:
    text = _LIMITS.get(refused.limit or "", f"keeps {refused.limit} to at most {{bound}}; send less")
    return _at(
        problems.LIMIT_EXCEEDED,
        refused,
        pointer,
        "the cart " + text.format(bound=refused.bound),
        extra={"limit": refused.limit, "bound": refused.bound},
    )


def _line_not_found(refused: Refused, pointer: Pointer) -> Problem:
    detail = "the cart has no such line; read it for its lines, or add the product"
    return _at(problems.LINE_NOT_FOUND, refused, pointer, detail)


def _currency(refused: Refused, pointer: Pointer) -> Problem:
    detail = f"the cart has other lines in {refused.currency}; send that currency, or remove them first"
    return _at(problems.CURRENCY_MISMATCH, refused, pointer, detail)


def _window_full(refused: Refused, _: Pointer) -> Problem:
    return Problem(
        problems.TOO_MANY_CHANGES,
        "The cart has had too many changes in the last minutes; put several into one PATCH, "
        "and wait as Retry-After says.",
        headers=retry_after((refused.retry_after_us or 1_000_000) / 1_000_000),
    )


def _outbox_full(_: Refused, __: Pointer) -> Problem:
    return Problem(
        problems.OUTBOX_FULL,
        "Kafka is away for so long that no more changes can be kept; carts can still be read. "
        "Send the request again later.",
        headers=retry_after(5),
    )


def _at(
    kind: ProblemType,
    refused: Refused,
    pointer: Pointer,
    detail: str,
    *,
    extra: Mapping[str, object] | None = None,
) -> Problem:
    place = "" if refused.step is None else pointer(refused.step)
    sentence = f"{place}: {detail}." if place else f"{detail[0].upper()}{detail[1:]}."
    return Problem(kind, sentence, errors=[FieldError(place, detail)], extra=extra)


_PROBLEMS: Final[Mapping[Reason, Callable[[Refused, Pointer], Problem]]] = {
    Reason.RESTORING: _restoring,
    Reason.UNKNOWN_CART: _restoring,
    Reason.TOO_OLD: lambda *_: too_old(),
    Reason.KEY_REUSED: _key_reused,
    Reason.PRECONDITION_FAILED: _precondition_failed,
    Reason.CLAIMED: _claimed,
    Reason.MERGED: _merged,
    Reason.LIMIT: _limit,
    Reason.LINE_NOT_FOUND: _line_not_found,
    Reason.CURRENCY: _currency,
    Reason.WINDOW_FULL: _window_full,
    Reason.OUTBOX_FULL: _outbox_full,
    Reason.STORAGE_FULL: lambda *_: store_full(),
}
