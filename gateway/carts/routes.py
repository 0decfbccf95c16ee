"""The HTTP routes of carts: parse, hand to the service, answer."""

from typing import Any, Final

import structlog
from sanic import Request
from sanic.response import HTTPResponse

from carts.operations import Clear, Remove
from gateway.carts import openapi
from gateway.carts.commands import CommandStep
from gateway.carts.details import PATCH_DETAILS, set_details
from gateway.carts.problems import being_ordered
from gateway.carts.reading import EMPTY_VERSION, ChangedCarts, Reader
from gateway.carts.requests import (
    ADD_ITEM,
    PATCH_CART,
    PATCH_ITEM,
    PUT_ITEM,
    add_item,
    change_command,
    patch_cart,
    patch_item,
    put_item,
)
from gateway.carts.responses import cart_changed, cart_read, past_cart
from gateway.carts.service import CartService
from gateway.erasure.service import BeingOrdered, Erasure
from gateway.history.requests import version_in
from gateway.history.service import CartHistory
from gateway.http.conditions import NO_PRECONDITIONS, parse_idempotency_key
from gateway.http.problems import INVALID_HEADER, Problem
from gateway.http.requests import (
    bad_parameter,
    body_of,
    cart_id_in,
    is_current,
    line_id_in,
    preconditions_of,
    single_of,
)
from gateway.http.responses import json_response, not_modified
from gateway.http.routing import route
from gateway.identity.access import Access
from gateway.identity.guard import caller_of
from gateway.metrics import Metrics

log = structlog.get_logger(__name__)

CART: Final = "/v1/carts/{cart_id}"
DETAILS: Final = f"{CART}/details"
ITEMS: Final = f"{CART}/items"
ITEM: Final = f"{ITEMS}/{{line_id}}"


class CartRoutes:
    """Handlers of one app."""

    def __init__(
        self,
        reader: Reader,
        service: CartService,
        changed_carts: ChangedCarts,
        erasure: Erasure,
        history: CartHistory,
        metrics: Metrics,
    ) -> None:
        self._reader = reader
        self._service = service
        self._changed_carts = changed_carts
        self._erasure = erasure
        self._history = history
        self._erasures = metrics.erasures

    @route("GET", CART, Access.CART, openapi.READ)
    async def read(self, request: Request, cart_id: str) -> HTTPResponse:
        """The cart; one never written is empty, with version 0-0-000000000000. With `at` as it was then."""
        name = cart_id_in(cart_id)
        # Nearly no read has a query, and taking one apart costs as much as reading the cart.
        if request.query_string and (version := version_in(request)) is not None:
            preconditions_of(request.headers)  # nothing to compare, but they have to be some
            return past_cart(await self._history.at(name, version))
        found = await self._reader.read(name)
        if is_current(request.headers, found.tag, EMPTY_VERSION):
            return not_modified(found.tag)
        return cart_read(found)

    @route("POST", ITEMS, Access.CART, openapi.ADD_ITEM)
    async def add_item(self, request: Request, cart_id: str) -> HTTPResponse:
        """Add pieces of a product."""
        step = add_item(body_of(request, ADD_ITEM))
        return await self._change(request, cart_id, (step,), "items.add")

    @route("PUT", ITEM, Access.CART, openapi.PUT_ITEM)
    async def put_item(self, request: Request, cart_id: str, line_id: str) -> HTTPResponse:
        """Replace quantity and metadata of a line; 0 removes it."""
        step = put_item(line_id_in(line_id), body_of(request, PUT_ITEM))
        return await self._change(request, cart_id, (step,), "items.put")

    @route("PATCH", ITEM, Access.CART, openapi.PATCH_ITEM)
    async def patch_item(self, request: Request, cart_id: str, line_id: str) -> HTTPResponse:
        """Change quantity, metadata or both of a line; quantity 0 removes it."""
        step = patch_item(line_id_in(line_id), body_of(request, PATCH_ITEM))
        return await self._change(request, cart_id, (step,), "items.patch")

    @route("DELETE", ITEM, Access.CART, openapi.REMOVE_ITEM)
    async def remove_item(self, request: Request, cart_id: str, line_id: str) -> HTTPResponse:
        """Remove a line; one that is not there is no error."""
        return await self._change(request, cart_id, (Remove(line_id_in(line_id)),), "items.remove")

    @route("PATCH", CART, Access.CART, openapi.PATCH)
    async def patch(self, request: Request, cart_id: str) -> HTTPResponse:
        """Up to 100 operations, all or none."""
        steps = patch_cart(body_of(request, PATCH_CART))
        return await self._change(request, cart_id, steps, "carts.patch", listed_in="operations")

    @route("PATCH", DETAILS, Access.CART, openapi.PATCH_DETAILS)
    async def patch_details(self, request: Request, cart_id: str) -> HTTPResponse:
        """Set or remove details; those that the body does not name stay."""
        step = set_details(body_of(request, PATCH_DETAILS))
        return await self._change(request, cart_id, (step,), "carts.details")

    @route("DELETE", CART, Access.CART, openapi.CLEAR)
    async def clear(self, request: Request, cart_id: str) -> HTTPResponse:
        """Remove all lines; metadata and details stay. With `erase=true` forget everything."""
        if erase_in(request):
            if preconditions_of(request.headers) != NO_PRECONDITIONS:
                raise Problem(
                    INVALID_HEADER,
                    "An erasure forgets every version; send it without If-Match and If-None-Match.",
                )
            if (key := single_of(request.headers, "idempotency-key")) is not None:
                parse_idempotency_key(key)  # nothing to remember, but it has to be one
            return await self._erase(request, cart_id_in(cart_id))
        return await self._change(request, cart_id, (Clear(),), "carts.clear")

    async def _erase(self, request: Request, cart_id: str) -> HTTPResponse:
        try:
            certificate = await self._erasure.erase(cart_id, caller_of(request).actor)
        except BeingOrdered as error:
            raise being_ordered(error.ttl_ms) from error
        log.info("cart.erased", erasure_id=certificate.erasure_id, waits_for=certificate.waits_for)
        self._erasures.labels("complete" if certificate.complete else "waiting").inc()
        return json_response(certificate, 200 if certificate.complete else 202)

    async def _change(
        self,
        request: Request,
        cart_id: str,
        steps: tuple[CommandStep, ...],
        cause: str,
        *,
        listed_in: str | None = None,
    ) -> HTTPResponse:
        command = change_command(request, cart_id, steps, cause, listed_in=listed_in)
        changed = await self._service.change(command)
        cart = changed.outcome.cart
        shown = None if cart is None else await self._changed_carts.shown(cart)
        return cart_changed(changed, command.preferences, shown)


def erase_in(request: Request) -> bool:
    """Whether the query asks for an erasure. Raises Problem for a value that is neither true nor false."""
    arguments: Any = request.get_args(keep_blank_values=True)
    value = arguments.get("erase", "false")
    if value not in {"true", "false"}:
        raise bad_parameter("erase", "is true or false")
    return bool(value == "true")
