"""Why a request about a product is refused: one problem each."""

from gateway.http.problems import (
    INVALID_BODY,
    KAFKA_UNAVAILABLE,
    NO_CATALOGUE,
    PRECONDITION_FAILED,
    PRODUCT_NOT_FOUND,
    UNSUPPORTED_MEDIA_TYPE,
    VERSION_TOO_LOW,
    FieldError,
    Problem,
    retry_after,
)


def no_catalogue() -> Problem:
    """This gateway has no catalogue."""
    return Problem(
        NO_CATALOGUE,
        "CARTSTREAM_PRODUCTS_OWNER is caller: each add states its price. "
        "Set it to internal or external to have a catalogue.",
    )


def product_not_found(product_id: str) -> Problem:
    """The product does not exist."""
    return Problem(
        PRODUCT_NOT_FOUND,
        f"There is no product {product_id}; GET /v1/products lists all active products.",
    )


def product_changed(version: int | None) -> Problem:
    """A precondition does not hold; `version` is the product's, None when there is no product."""
    return Problem(
        PRECONDITION_FAILED,
        "The product is not at a version that If-Match or If-None-Match allows; "
        "read it, decide again, and send its ETag.",
        headers={} if version is None else {"etag": f'"{version}"'},
        extra={} if version is None else {"current": str(version)},
    )


def version_too_low(version: int, known: int) -> Problem:
    """The owner has sent a version that is older than the known one."""
    detail = too_low(version, known)
    return Problem(
        VERSION_TOO_LOW,
        f"/version: {detail}.",
        errors=[FieldError("/version", detail)],
        extra={"current": str(known)},
    )


def too_low(version: int, known: int) -> str:
    """What is wrong with a version that is older than the known one."""
    return f"is {version}, but version {known} is known; send the newest product, with a higher version"


def not_acknowledged() -> Problem:
    """Kafka may or may not have the product."""
    return Problem(
        KAFKA_UNAVAILABLE,
        "Kafka did not acknowledge the product, and may or may not have it; "
        "send it again with the same version: repeating it is safe.",
        headers=retry_after(1),
    )


def not_ndjson(media_type: str, expected: str) -> Problem:
    """The body of an import has another media type than `expected`."""
    return Problem(
        UNSUPPORTED_MEDIA_TYPE,
        f"The body has {media_type[:80] or 'no media type'}; send one JSON object for each line, "
        f"as {expected}.",
        headers={"accept": expected},
    )


def no_lines(what: str) -> Problem:
    """The body of an import is no product in each line; `what` it seems to be."""
    example = '{"product_id": "mug", "name": "Mug", "unit_price": 1999, "currency": "EUR", "stock": 12}'
    detail = f"send one product in each line, as {example}"
    return Problem(INVALID_BODY, f"{what}. Nothing was imported: {detail}.", errors=[FieldError("", detail)])
