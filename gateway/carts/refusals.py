"""What the store's refusals mean to the caller: one problem each."""

from gateway import problems
from gateway.problems import FieldError, Problem, retry_after
from store import Reason, Refused

_LIMITS = {
    "lines": "shows at most {bound} lines; remove some first",
    "tracked_lines": "has seen {bound} different lines; clear it to start over",
    "quantity": "holds at most {bound} pieces of a line; set a smaller quantity",
    "metadata_bytes": "takes at most {bound} bytes of metadata; keep large values elsewhere",
    "content_bytes": "takes at most {bound} bytes of lines and metadata; remove lines or metadata first",
    "subtotal": "sums up to at most {bound} minor units; set a smaller quantity",
}


def problem_of(refused: Refused, steps: int) -> Problem:
    """The problem that tells a caller why a change of `steps` steps was refused, and what to do.

    RESTORING and UNKNOWN_CART are for the service to solve; here they mean that it could not in time.
    """
    match refused.reason:
        case Reason.RESTORING | Reason.UNKNOWN_CART:
            return restoring()
        case Reason.TOO_OLD:
            return Problem(
                problems.TOO_OLD,
                "The first attempt is so long ago that a retry could apply twice; read the cart, "
                "then send the change with a new Idempotency-Key if it is still wanted.",
            )
        case Reason.KEY_REUSED:
            return Problem(
                problems.KEY_REUSED,
                "This Idempotency-Key has been used on this cart with another change; use a new key for a new change.",
            )
        case Reason.PRECONDITION_FAILED:
            return Problem(
                problems.PRECONDITION_FAILED,
                "The cart is no longer at the version in If-Match; read it, decide again, and send its new ETag.",
                headers={"etag": f'"{refused.tag}"'},
                extra={"current": refused.tag},
            )
        case Reason.CLAIMED:
            return Problem(
                problems.CLAIMED,
                "The cart is being merged into the one named; wait a moment, then change that one.",
                headers=retry_after(1),
                extra={"into": refused.into},
            )
        case Reason.MERGED:
            return Problem(
                problems.MERGED,
                "The cart has been merged; change the one named instead.",
                extra={"into": refused.into},
            )
        case Reason.LIMIT:
            return _limit(refused, steps)
        case Reason.LINE_NOT_FOUND:
            return _at(
                problems.LINE_NOT_FOUND,
                refused,
                steps,
                "the cart has no such line; read it for its lines, or add the product",
            )
        case Reason.CURRENCY:
            return _at(
                problems.CURRENCY_MISMATCH,
                refused,
                steps,
                f"the cart is in {refused.currency}; send that, or clear it first",
            )
        case Reason.WINDOW_FULL:
            return Problem(
                problems.TOO_MANY_CHANGES,
                "The cart has had too many changes in the last minutes; put several into one PATCH, and wait as told.",
                headers=retry_after((refused.retry_after_us or 1_000_000) / 1_000_000),
            )
        case Reason.OUTBOX_FULL:
            return Problem(
                problems.OUTBOX_FULL,
                "Kafka is away for so long that no more changes can be kept; carts can be read. Send it again later.",
                headers=retry_after(5),
            )
        case Reason.STORAGE_FULL:
            return Problem(
                problems.STORE_UNAVAILABLE,
                "The live store is full; carts can be read. Send it again later.",
                headers=retry_after(5),
            )


def restoring() -> Problem:
    """The answer while the cart's partition is not authoritative."""
    return Problem(
        problems.RESTORING,
        "The carts of this partition are being restored; nothing was changed. "
        "Send the request again, with the same Idempotency-Key if it changes the cart.",
        headers=retry_after(1),
    )


def _limit(refused: Refused, steps: int) -> Problem:
    text = _LIMITS.get(refused.limit or "", "has the limit {bound} on " + str(refused.limit) + "; send less")
    return _at(
        problems.LIMIT_EXCEEDED,
        refused,
        steps,
        "the cart " + text.format(bound=refused.bound),
        extra={"limit": refused.limit, "bound": refused.bound},
    )


def _at(
    kind: problems.ProblemType,
    refused: Refused,
    steps: int,
    detail: str,
    extra: dict[str, object] | None = None,
) -> Problem:
    pointer = f"/operations/{refused.step}" if refused.step is not None and steps > 1 else ""
    sentence = f"{pointer}: {detail}." if pointer else f"{detail[0].upper()}{detail[1:]}."
    return Problem(kind, sentence, errors=[FieldError(pointer, detail)], extra=extra)
