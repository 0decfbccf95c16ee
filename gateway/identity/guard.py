"""Stands before every route: finds out who calls, and lets through who may."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, Protocol
from urllib.parse import quote

from sanic import Request
from sanic.response import HTTPResponse

from gateway.http import problems
from gateway.http.problems import Problem
from gateway.http.requests import cart_id_in, single_of
from gateway.identity.access import Access, Decision, decide
from gateway.identity.callers import ACTING_FOR, CART_SESSION, CART_TOKEN, Callers, Presented
from gateway.identity.jwt_tokens import InvalidToken
from gateway.identity.principal import ANONYMOUS, OPEN, Kind, Principal
from gateway.rates.service import Rates
from store.redis import Tickets

OWN_CART: Final = "me"
"""In the place of a cart id: the caller's own cart."""
TICKET: Final = "ticket"
"""The query parameter with a ticket, for callers that cannot send headers."""
_CHALLENGE: Final = 'Bearer realm="cartstream"'

Handler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]


class Guard(Protocol):
    """Lets callers through to a route's handler, and tells handlers who they are."""

    def protect(self, access: Access, handler: Handler) -> Handler:
        """The handler as it may be served to everybody."""
        ...

    def caller(self, request: Request) -> Principal:
        """Who sent a request that was let through."""
        ...


class OpenGuard:
    """Development mode: every caller may do everything."""

    def protect(self, _: Access, handler: Handler) -> Handler:
        """The handler itself."""
        return handler

    def caller(self, _: Request) -> Principal:
        """Anybody."""
        return OPEN


class ProofGuard:
    """Production mode: callers prove who they are."""

    def __init__(
        self,
        callers: Callers,
        tickets: Tickets,
        rates: Rates,
        session_cookie: str,
        *,
        orders_elsewhere: bool,
    ) -> None:
        """`orders_elsewhere`: a checkout hands out a token, which is for the keeper of orders only."""
        self._callers: Final = callers
        self._tickets: Final = tickets
        self._rates: Final = rates
        self._session_cookie: Final = session_cookie
        self._orders_elsewhere: Final = orders_elsewhere

    def protect(self, access: Access, handler: Handler) -> Handler:
        """Asks who calls before the handler does anything; it answers 401, 403, 404 or 429 itself."""
        if access is Access.CHECKOUT:
            access = Access.ORDERS_SERVICE if self._orders_elsewhere else Access.ORDERS

        @wraps(handler)
        async def guarded(request: Request, **parameters: str) -> HTTPResponse | None:
            ticket = request.args.get(TICKET) if access is Access.CART_STREAM else None
            if ticket:
                principal = await self._holder(ticket, keeps_it=request.method == "HEAD")
            else:
                principal = self._identify(request, access)
            if parameters.get("cart_id") == OWN_CART:
                parameters["cart_id"] = _own_cart(principal)
            segment = parameters.get("cart_id")
            if access is not Access.PUBLIC:
                if principal.kind is Kind.ANONYMOUS:
                    raise unauthenticated()
                _let_through(decide(principal, access, segment and cart_id_in(segment)))
            self._rates.check_caller(request, principal)
            request.ctx.principal = principal
            return await handler(request, **parameters)

        return guarded

    def caller(self, request: Request) -> Principal:
        """Who sent the request; AttributeError if no guard has seen it."""
        found: Principal = request.ctx.principal
        return found

    async def _holder(self, ticket: str, *, keeps_it: bool) -> Principal:
        """Whoever has a ticket: the owner of its cart.

        It is used up, whatever becomes of the request, unless the holder `keeps_it`: HEAD opens no stream.
        """
        cart_id = await (self._tickets.look_at(ticket) if keeps_it else self._tickets.take(ticket))
        if cart_id is None:
            raise Problem(
                problems.UNAUTHENTICATED,
                "The ticket has been used, has expired, or was never issued; "
                "get a new one with POST /v1/carts/{cart_id}/stream-tickets.",
                headers={"www-authenticate": f'{_CHALLENGE}, error="invalid_token"'},
            )
        return Principal(Kind.GUEST, carts=(cart_id,), actor=cart_id)

    def _identify(self, request: Request, access: Access) -> Principal:
        headers = request.headers
        try:
            return self._callers.identify(
                Presented(
                    single_of(headers, "authorization"),
                    single_of(headers, CART_TOKEN),
                    single_of(headers, CART_SESSION) or request.cookies.get(self._session_cookie),
                    single_of(headers, ACTING_FOR),
                )
            )
        except InvalidToken as error:
            if access is Access.PUBLIC:
                return ANONYMOUS  # a guest whose token has expired mints a new one, and probes have none
            raise Problem(
                problems.UNAUTHENTICATED,
                f"What was sent to prove who calls proves nothing: {error}. "
                "Log in again, or mint a new guest cart with POST /v1/carts.",
                headers={"www-authenticate": f'{_CHALLENGE}, error="invalid_token"'},
            ) from error


def caller_of(request: Request) -> Principal:
    """Who sent a request that the app's guard has let through."""
    guard: Guard = request.app.ctx.guard
    return guard.caller(request)


def unauthenticated() -> Problem:
    """The answer to somebody unknown who must be known."""
    return Problem(
        problems.UNAUTHENTICATED,
        "Send `Authorization: Bearer <token>`: a shopper's or a service's JWT, or a guest token out of "
        "POST /v1/carts.",
        headers={"www-authenticate": _CHALLENGE},
    )


def cart_not_found() -> Problem:
    """The answer about carts of others: the same whether they exist or not."""
    return Problem(
        problems.CART_NOT_FOUND,
        "This caller has no such cart; /v1/carts/me is the caller's own, POST /v1/carts mints one.",
    )


def _let_through(decision: Decision) -> None:
    match decision:
        case Decision.UNAUTHENTICATED:
            raise unauthenticated()
        case Decision.FORBIDDEN:
            raise Problem(
                problems.FORBIDDEN,
                "This is for services whose token has the scope that the route asks for; see /docs.",
            )
        case Decision.HIDDEN:
            raise cart_not_found()
        case Decision.ALLOWED:
            pass


def _own_cart(principal: Principal) -> str:
    if principal.kind is Kind.ANONYMOUS:
        raise unauthenticated()
    if not principal.carts:
        raise cart_not_found()
    return quote(principal.carts[0], safe=":")
