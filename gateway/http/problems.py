"""Problem details (RFC 9457) for every error the gateway answers: one table of types, one rendering."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from sanic import Request
from sanic.exceptions import (
    ExpectationFailed,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    SanicException,
    ServiceUnavailable,
)
from sanic.handlers import ErrorHandler
from sanic.response import HTTPResponse

from runtime.redaction import redacted
from store.redis import StoreError, StoreFull

log = structlog.get_logger(__name__)

CONTENT_TYPE: Final = "application/problem+json"


class ProblemType(msgspec.Struct, frozen=True):
    """A kind of error: its `type` URI is `/problems/<slug>` and never changes."""

    slug: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The stable `type` member."""
        return f"/problems/{self.slug}"


MALFORMED_REQUEST: Final = ProblemType("malformed-request", 400, "The request is malformed")
MALFORMED_JSON: Final = ProblemType("malformed-json", 400, "The body is not JSON")
INVALID_HEADER: Final = ProblemType("invalid-header", 400, "A request header is not valid")
KEY_MISSING: Final = ProblemType("idempotency-key-missing", 400, "An Idempotency-Key is needed")
UNAUTHENTICATED: Final = ProblemType("unauthenticated", 401, "Who calls is not known")
FORBIDDEN: Final = ProblemType("forbidden", 403, "The caller may not do this")
INVALID_IDENTIFIER: Final = ProblemType("invalid-identifier", 400, "An identifier in the path is not valid")
INVALID_PARAMETER: Final = ProblemType("invalid-parameter", 400, "A query parameter is not valid")
NOT_FOUND: Final = ProblemType("not-found", 404, "There is nothing at this address")
CART_NOT_FOUND: Final = ProblemType("cart-not-found", 404, "The caller has no such cart")
LINE_NOT_FOUND: Final = ProblemType("line-not-found", 404, "The cart has no such line")
METHOD_NOT_ALLOWED: Final = ProblemType("method-not-allowed", 405, "The address does not know this method")
REQUEST_TIMEOUT: Final = ProblemType("request-timeout", 408, "The request took too long to arrive")
PRODUCT_NOT_FOUND: Final = ProblemType("product-not-found", 404, "The catalogue has no such product")
NO_CATALOGUE: Final = ProblemType("no-catalogue", 404, "This gateway has no catalogue")
PRODUCT_INACTIVE: Final = ProblemType("product-inactive", 409, "The product is not sold any more")
PRICE_CHANGED: Final = ProblemType("price-changed", 409, "The price is another one now")
CURRENCY_CHANGED: Final = ProblemType("currency-changed", 409, "The price is in another currency now")
VERSION_TOO_LOW: Final = ProblemType("version-too-low", 409, "A newer version of the product is known")
SHORT_STOCK: Final = ProblemType("short-stock", 409, "There are not that many pieces")
ORDER_NOT_FOUND: Final = ProblemType("order-not-found", 404, "There is no such order")
CHECKOUT_NOT_FOUND: Final = ProblemType("checkout-not-found", 404, "The cart has no such checkout")
NO_HISTORY: Final = ProblemType("no-history", 404, "This gateway has no history of carts")
NOT_IN_HISTORY: Final = ProblemType("not-in-history", 404, "The history does not know the cart at that time")
LINK_NOT_FOUND: Final = ProblemType("link-not-found", 404, "The link leads nowhere")
MERGE_NOT_FOUND: Final = ProblemType("merge-not-found", 404, "There is no such merge")
CART_EMPTY: Final = ProblemType("cart-empty", 409, "The cart holds nothing to order")
CART_OUTDATED: Final = ProblemType("cart-outdated", 409, "Prices or stock have changed under the cart")
CHECKOUT_IN_PROGRESS: Final = ProblemType(
    "checkout-in-progress", 409, "Another checkout of the cart is under way"
)
CHECKOUT_CLOSED: Final = ProblemType("checkout-closed", 409, "The checkout has ended otherwise")
ORDERS_ELSEWHERE: Final = ProblemType("orders-elsewhere", 409, "Orders are kept by another system")
HISTORY_TOO_LONG: Final = ProblemType("history-too-long", 409, "The cart has too many operations to fold")
HISTORY_INCOMPLETE: Final = ProblemType("history-incomplete", 409, "Operations of the cart are missing")
MERGED: Final = ProblemType("cart-merged", 409, "The cart has become part of another one")
CLAIMED: Final = ProblemType("cart-claimed", 409, "The cart is being merged into another one")
TOO_OLD: Final = ProblemType("request-too-old", 409, "The first attempt of this request is too long ago")
CLIENT_GONE: Final = ProblemType("client-gone", 499, "The client has gone")
PRECONDITION_FAILED: Final = ProblemType("precondition-failed", 412, "The cart has changed")
EXPECTATION_FAILED: Final = ProblemType("expectation-failed", 417, "The expectation cannot be met")
MISDIRECTED: Final = ProblemType("misdirected-request", 421, "The request is for another server")
BODY_TOO_LARGE: Final = ProblemType("body-too-large", 413, "The body is too large")
URI_TOO_LONG: Final = ProblemType("uri-too-long", 414, "The address is too long")
HEADERS_TOO_LARGE: Final = ProblemType("headers-too-large", 431, "The headers are too large")
UNSUPPORTED_MEDIA_TYPE: Final = ProblemType(
    "unsupported-media-type", 415, "The body has the wrong media type"
)
INVALID_BODY: Final = ProblemType("invalid-body", 422, "The body does not follow its schema")
PRODUCT_UNKNOWN: Final = ProblemType("product-unknown", 422, "The catalogue has no such product")
OPTION_NOT_OFFERED: Final = ProblemType("option-not-offered", 422, "The product does not have that option")
KEY_REUSED: Final = ProblemType(
    "idempotency-key-reused", 422, "The Idempotency-Key belongs to another request"
)
LIMIT_EXCEEDED: Final = ProblemType("limit-exceeded", 422, "The cart would outgrow a limit")
CURRENCY_MISMATCH: Final = ProblemType("currency-mismatch", 422, "A cart has one currency")
TOO_MANY_CHANGES: Final = ProblemType("too-many-changes", 429, "The cart changes too often")
RATE_LIMITED: Final = ProblemType("rate-limited", 429, "The caller sends too many requests")
TOO_MANY_STREAMS: Final = ProblemType("too-many-streams", 429, "The cart has too many streams")
INTERNAL_ERROR: Final = ProblemType("internal-error", 500, "The gateway failed")
OVERLOADED: Final = ProblemType("overloaded", 503, "The gateway has too much to do")
NOT_READY: Final = ProblemType("not-ready", 503, "The gateway is not ready")
CONNECTIONS_FULL: Final = ProblemType("connections-full", 503, "There are too many connections")
BODIES_FULL: Final = ProblemType("bodies-full", 503, "The gateway has no room for the body")
STREAMS_EXHAUSTED: Final = ProblemType("streams-exhausted", 503, "The gateway has no room for a stream")
RESTORING: Final = ProblemType("restoring", 503, "The cart's partition is being restored")
CATALOGUE_RESTORING: Final = ProblemType("catalogue-restoring", 503, "The catalogue is being restored")
OUTBOX_FULL: Final = ProblemType("outbox-full", 503, "Too many changes wait for Kafka")
CART_NOT_DELIVERED: Final = ProblemType(
    "cart-not-delivered", 503, "The cart's changes have not arrived in the database"
)
PRICING_UNAVAILABLE: Final = ProblemType(
    "pricing-unavailable", 503, "Discounts and taxes are not known at the moment"
)
DURABILITY_NOT_REACHED: Final = ProblemType(
    "durability-not-reached", 503, "The wanted durability was not reached"
)
STORE_UNAVAILABLE: Final = ProblemType("store-unavailable", 503, "The live store does not answer")
STORE_FULL: Final = ProblemType("store-full", 503, "The live store is full")
KAFKA_UNAVAILABLE: Final = ProblemType("kafka-unavailable", 503, "Kafka does not answer")
DATABASE_UNAVAILABLE: Final = ProblemType("database-unavailable", 503, "The database does not answer")
DEADLINE_EXCEEDED: Final = ProblemType("deadline-exceeded", 503, "The request took too long")


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong at one place of the body; `pointer` is a JSON Pointer (RFC 6901)."""

    pointer: str
    detail: str


def problem_types() -> list[ProblemType]:
    """Every type of problem, by status."""
    found = [value for value in globals().values() if isinstance(value, ProblemType)]
    return sorted(found, key=lambda kind: (kind.status, kind.slug))


class Problem(Exception):
    """An error for the caller. `detail` says what to do; `extra` are members of the type's own."""

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        # It may repeat a part of the request, and what is no UTF-8 there Sanic hands on as lone surrogates.
        self.detail = redacted(detail.encode(errors="backslashreplace").decode())
        self.errors = errors
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def body(self) -> bytes:
        """The JSON document of RFC 9457."""
        document: dict[str, Any] = {
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = self.errors
        return msgspec.json.encode(document | self.extra)

    def response(self) -> HTTPResponse:
        """The response that carries the problem."""
        return HTTPResponse(
            self.body(),
            status=self.kind.status,
            headers={"cache-control": "no-store", **self.headers},
            content_type=CONTENT_TYPE,
        )


def retry_after(seconds: float) -> dict[str, str]:
    """The header that tells when to try again, in whole seconds (RFC 9110, 10.2.3)."""
    return {"retry-after": str(max(1, round(seconds)))}


def store_full() -> Problem:
    """The answer to what would take more memory than Redis has."""
    return Problem(
        STORE_FULL,
        "The live store is full; this request changed nothing. Carts can be read, ordered and emptied; "
        "send the request again after Retry-After, with the same Idempotency-Key if it changes a cart.",
        headers=retry_after(5),
    )


class AnsweredRequest(Request):
    """A request whose body is read at once."""

    # Every request is one: without a dictionary of its own, and without one of its arguments.
    __slots__ = ()

    async def receive_body(self) -> None:
        """Read the body. Sanic uses an asynchronous generator, which costs more than most bodies."""
        stream: Any = self.stream
        self.body = await stream.read_whole()


class ProblemHandler(ErrorHandler):
    """Sanic's error handler, answering problems whatever was raised and wherever."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        """The response to any exception that reached Sanic."""
        problem = exception if isinstance(exception, Problem) else _problem_of(request, exception)
        request.app.ctx.metrics.problems.labels(problem.kind.slug).inc()
        return problem.response()


def _store_failed(_: Request, error: StoreError) -> Problem:
    happened = "Nothing was changed" if error.outcome_known else "The change may or may not have been made"
    return Problem(
        STORE_UNAVAILABLE,
        f"Redis did not do it ({type(error).__name__}). {happened}; "
        "send the request again with the same Idempotency-Key.",
        headers=retry_after(1),
    )


def _method_not_allowed(request: Request, _: MethodNotAllowed) -> Problem:
    router: Any = request.app.router
    allowed = ", ".join(router.methods_at(request.path))
    return Problem(
        METHOD_NOT_ALLOWED,
        f"{request.method} is not possible here; use one of: {allowed}.",
        headers={"allow": allowed},
    )


def _not_found(request: Request, _: NotFound) -> Problem:
    return Problem(
        NOT_FOUND, f"No route leads to {redacted(request.path)[:200]}; /openapi.json lists all of them."
    )


def _slow(_: Request, __: RequestTimeout) -> Problem:
    return Problem(REQUEST_TIMEOUT, "The whole request did not arrive in time; send it again without pauses.")


def _expectation(_: Request, error: ExpectationFailed) -> Problem:
    return Problem(EXPECTATION_FAILED, f"{error}; leave the header Expect out.")


def _deadline(_: Request, __: ServiceUnavailable) -> Problem:
    return Problem(
        DEADLINE_EXCEEDED,
        "The request passed its deadline, and a change it asked for may or may not have been made; "
        "send it again with the same Idempotency-Key.",
        headers=retry_after(1),
    )


def _client_gone(_: Request, __: asyncio.CancelledError) -> Problem:
    return Problem(CLIENT_GONE, "The client closed the connection before the reply; nobody reads this.")


def _malformed(_: Request, error: SanicException) -> Problem:
    kind = ProblemType(MALFORMED_REQUEST.slug, error.status_code, MALFORMED_REQUEST.title)
    return Problem(kind, f"The request is not valid HTTP/1.1 ({error}); check its first line and headers.")


# The first that fits counts: subclasses before their bases.
_FROM_EXCEPTION: Final[Sequence[tuple[type[BaseException], Callable[[Request, Any], Problem]]]] = (
    (StoreFull, lambda *_: store_full()),
    (StoreError, _store_failed),
    (asyncio.CancelledError, _client_gone),
    (MethodNotAllowed, _method_not_allowed),
    (NotFound, _not_found),
    (RequestTimeout, _slow),
    (ExpectationFailed, _expectation),
    (ServiceUnavailable, _deadline),
    (SanicException, _malformed),
)


def _problem_of(request: Request, exception: Exception) -> Problem:
    for kind, make in _FROM_EXCEPTION:
        if isinstance(exception, kind) and _is_expected(exception):
            return make(request, exception)
    log.error("gateway.request_failed", method=request.method, path=request.path, exc_info=exception)
    return Problem(
        INTERNAL_ERROR,
        "An error of the gateway, not of the request; it is in the gateway's log. "
        "Sending the request again with the same Idempotency-Key is safe.",
    )


def _is_expected(exception: BaseException) -> bool:
    if isinstance(exception, StoreError):
        return exception.retriable
    return isinstance(exception, ServiceUnavailable | asyncio.CancelledError) or (
        isinstance(exception, SanicException) and exception.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
    )
