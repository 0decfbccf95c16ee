"""The HTTP routes of carts: parse, hand to the service, answer."""

import re
import secrets
import time
from random import getrandbits
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from sanic import Request
from sanic.response import HTTPResponse

from carts.errors import InvalidIdentifier
from carts.ids import check_line_id
from carts.operations import Clear, Remove
from gateway.carts import openapi
from gateway.carts.reading import EMPTY_VERSION, Reader
from gateway.carts.requests import (
    ADD_ITEM,
    PATCH_CART,
    PATCH_ITEM,
    PUT_ITEM,
    AddItem,
    Asked,
    MintedCart,
    PatchCart,
    PatchItem,
    PutItem,
    Steps,
    add_item,
    patch_cart,
    patch_item,
    put_item,
)
from gateway.carts.service import CartChanger, Changed, Wanted
from gateway.http import problems
from gateway.http.conditions import (
    DEFAULT_PREFERENCES,
    Preferences,
    first_attempt_us,
    is_not_modified,
    parse_idempotency_key,
    parse_if_match,
    parse_prefer,
)
from gateway.http.problems import Problem
from gateway.http.requests import body_of, cart_id_in
from gateway.http.responses import cart_response, durability_headers, not_modified
from gateway.http.routing import route
from gateway.pricing.prices import Prices
from store.redis import ChangeRequest
from topics.headers import TRACEPARENT, Headers

NEVER: Final = "-"
"""An If-Match that no version satisfies: what weak tags come to under strong comparison."""

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_STALE: Final = (b"cart-freshness", b"stale")
_REPLAYED: Final = (b"idempotency-replayed", b"true")


class CartRoutes:
    """Handlers of one app."""

    def __init__(self, reader: Reader, changer: CartChanger, prices: Prices) -> None:
        self._reader = reader
        self._changer = changer
        self._prices = prices

    @route("POST", "/v1/carts", openapi.MINT)
    async def mint(self, _: Request) -> HTTPResponse:
        """A new guest cart id and its token. Nothing is stored: an empty cart needs no place."""
        token = secrets.token_urlsafe(24)
        cart_id = f"guest:{token}"
        return HTTPResponse(
            msgspec.json.encode(MintedCart(cart_id, token)),
            status=201,
            content_type="application/json",
            headers={
                "location": f"/v1/carts/{cart_id}",
                "etag": f'"{EMPTY_VERSION}"',
                "cache-control": "private, no-store",
            },
        )

    @route("GET, HEAD", "/v1/carts/{cart_id}", openapi.READ)
    async def read(self, request: Request, cart_id: str) -> HTTPResponse:
        """The cart; one never written is empty, with version 0-0-000000000000."""
        found = await self._reader.read(cart_id_in(cart_id))
        condition = request.headers.get("if-none-match")
        if condition is not None and is_not_modified(condition, found.tag, EMPTY_VERSION):
            return not_modified(found.tag)
        return cart_response(found.body, found.tag, [_STALE] if found.stale else [])

    @route("POST", "/v1/carts/{cart_id}/items", openapi.change("addItem", "Add pieces of a product", AddItem))
    async def add(self, request: Request, cart_id: str) -> HTTPResponse:
        """Add pieces of a product."""
        return await self._change(request, cart_id, add_item(body_of(request, ADD_ITEM)), "items.add")

    @route(
        "PUT",
        "/v1/carts/{cart_id}/items/{line_id}",
        openapi.change("putItem", "Replace quantity and metadata of a line; 0 removes it", PutItem),
    )
    async def put_item(self, request: Request, cart_id: str, line_id: str) -> HTTPResponse:
        """Replace quantity and metadata of a line; 0 removes it."""
        asked = put_item(_line_id(line_id), body_of(request, PUT_ITEM))
        return await self._change(request, cart_id, asked, "items.put")

    @route(
        "PATCH",
        "/v1/carts/{cart_id}/items/{line_id}",
        openapi.change("patchItem", "Change quantity, metadata or both; 0 removes the line", PatchItem),
    )
    async def patch_item(self, request: Request, cart_id: str, line_id: str) -> HTTPResponse:
        """Change quantity, metadata or both of a line; quantity 0 removes it."""
        asked = patch_item(_line_id(line_id), body_of(request, PATCH_ITEM))
        return await self._change(request, cart_id, asked, "items.patch")

    @route(
        "DELETE",
        "/v1/carts/{cart_id}/items/{line_id}",
        openapi.change("removeItem", "Remove a line; one that is not there is no error"),
    )
    async def remove_item(self, request: Request, cart_id: str, line_id: str) -> HTTPResponse:
        """Remove a line; one that is not there is no error."""
        return await self._change(request, cart_id, Asked((Remove(_line_id(line_id)),)), "items.remove")

    @route(
        "PATCH",
        "/v1/carts/{cart_id}",
        openapi.change("patchCart", "Up to 100 operations: all or none, one version, one event", PatchCart),
    )
    async def patch(self, request: Request, cart_id: str) -> HTTPResponse:
        """Up to 100 operations, all or none."""
        return await self._change(request, cart_id, patch_cart(body_of(request, PATCH_CART)), "carts.patch")

    @route(
        "DELETE", "/v1/carts/{cart_id}", openapi.change("clearCart", "Remove all lines; the metadata stays")
    )
    async def clear(self, request: Request, cart_id: str) -> HTTPResponse:
        """Remove all lines; the metadata stays."""
        return await self._change(request, cart_id, Asked((Clear(),)), "carts.clear")

    async def _change(self, request: Request, cart_id: str, asked: Asked, cause: str) -> HTTPResponse:
        headers = request.headers
        arrival_us = time.time_ns() // 1000
        prefer = headers.getall("prefer", None)
        wishes = parse_prefer(",".join(prefer)) if prefer else DEFAULT_PREFERENCES
        key = headers.get("idempotency-key")
        if key is None:
            op_id, first_seen_us, mark = f"{getrandbits(128):032x}", arrival_us, ""
        else:
            op_id = parse_idempotency_key(key)
            first_seen_us = min(arrival_us, first_attempt_us(op_id) or arrival_us)
            mark = asked.fingerprint()
        tags = parse_if_match(headers.get("if-match"))
        name = cart_id_in(cart_id)
        refusal: Problem | None = None
        steps: Steps = ()
        try:
            steps = await self._prices.steps(name, asked)
        except Problem as problem:
            if key is None:
                raise
            refusal = problem
        if_match = None if tags is None else " ".join(tags) or NEVER
        change = ChangeRequest(
            cart_id=name,
            op_id=op_id,
            fingerprint=mark,
            steps=steps,
            first_seen_us=first_seen_us,
            if_match=if_match if refusal is None else NEVER,
            minimal=wishes.minimal,
            cause=cause,
        )
        wanted = Wanted(change, wishes, _trace(headers))
        changed = await (
            self._changer.change(wanted) if refusal is None else self._made_before(wanted, refusal)
        )
        further = durability_headers(changed.reached, _applied(wishes), changed.receipt)
        if changed.replayed:
            further.append(_REPLAYED)
        return cart_response(changed.body, changed.tag, further)

    async def _made_before(self, wanted: Wanted, refusal: Problem) -> Changed:
        """A change that was made before the catalogue refuses it stays made: a retry hears so."""
        try:
            return await self._changer.change(wanted)
        except Problem as problem:
            # A retry is recognised before If-Match, which is such that everything else ends here.
            if problem.kind is problems.PRECONDITION_FAILED:
                raise refusal from None
            raise


def _applied(wishes: Preferences) -> str:
    return (", handling=strict" if wishes.strict else "") + (", return=minimal" if wishes.minimal else "")


def _trace(headers: Any) -> Headers:
    """What ties the record to the request: W3C Trace Context and the caller's request id, if well-formed."""
    trace: Headers = []
    traceparent = headers.get(TRACEPARENT)
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        trace.append((TRACEPARENT, traceparent.encode()))
    request_id = headers.get("x-request-id")
    if request_id is not None and _REQUEST_ID.fullmatch(request_id):
        trace.append(("request_id", request_id.encode()))
    return trace


def _line_id(value: str) -> str:
    try:
        return check_line_id(unquote(value) if "%" in value else value)
    except InvalidIdentifier as error:
        raise Problem(
            problems.INVALID_IDENTIFIER, f"The line id in the path is not valid: {error.advice}."
        ) from error
