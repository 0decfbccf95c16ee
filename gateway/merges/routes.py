"""The HTTP routes of merges: parse, check whose carts these are, call the service, reply."""

from typing import Final

from sanic import Request
from sanic.response import HTTPResponse

from carts.errors import InvalidIdentifier
from carts.ids import check_cart_id, is_merge_id
from carts.lifetime import GUEST_PREFIX
from gateway.http.conditions import parse_idempotency_key
from gateway.http.requests import body_of, cart_id_in, single_of
from gateway.http.responses import json_response
from gateway.http.routing import route
from gateway.identity.access import Access
from gateway.identity.guard import caller_of, cart_not_found
from gateway.identity.guest_tokens import PREFIXES
from gateway.identity.identity import Identity
from gateway.identity.principal import Scope
from gateway.merges import openapi, problems
from gateway.merges.requests import MERGE_GUEST, MergeGuest, MergeStatus
from gateway.merges.service import MergeService


class MergeRoutes:
    """Handlers of one app."""

    def __init__(self, service: MergeService, identity: Identity) -> None:
        self._service: Final = service
        self._guests: Final = identity.guests
        self._sessions: Final = identity.sessions

    @route("POST", "/v1/carts/{cart_id}/merge", Access.CART, openapi.MERGE)
    async def merge(self, request: Request, cart_id: str) -> HTTPResponse:
        """Carry a guest's cart over: 200 when that is done, 202 while it goes on."""
        name = cart_id_in(cart_id)
        body = body_of(request, MERGE_GUEST)
        key = single_of(request.headers, "idempotency-key")
        if key is not None:
            # Accepted for the callers' convenience: a guest's cart is merged once with any key, or none.
            parse_idempotency_key(key)
        field, guest = self._proven(request, body)
        if guest == name:
            raise problems.into_itself(field)
        found = await self._service.merge(name, guest, body.strategy, caller_of(request))
        headers = {"location": f"/v1/merges/{found.merge_id}"}
        if found.status is MergeStatus.DONE:
            return json_response(found, 200, headers)
        return json_response(found, 202, {**headers, "retry-after": "1"})

    @route("GET", "/v1/merges/{merge_id}", Access.MERGE, openapi.READ)
    async def read(self, request: Request, merge_id: str) -> HTTPResponse:
        """The merge as it stands."""
        if not is_merge_id(merge_id):
            raise problems.merge_not_found()
        return json_response(await self._service.find(merge_id, caller_of(request)))

    def _proven(self, request: Request, body: MergeGuest) -> tuple[str, str]:
        """The field of the body that names the guest's cart, and the cart, which the caller has proved."""
        if isinstance(body.guest, str) == isinstance(body.session, str):
            raise problems.not_one_guest()
        if isinstance(body.guest, str):
            return "guest", self._proven_guest(request, body.guest)
        if self._sessions is None:
            raise problems.no_sessions()
        return "session", self._sessions.cart_id(str(body.session))

    def _proven_guest(self, request: Request, guest: str) -> str:
        """The guest's cart that the caller has proved to be its own, by its token in the body or a header."""
        if guest.startswith(PREFIXES):
            token = self._guests.check(guest)
            if token is None:
                raise problems.not_a_guest("the token is not of this shop, or has expired")
            return token.cart_id
        try:
            cart_id = check_cart_id(guest)
        except InvalidIdentifier as error:
            raise problems.not_a_guest(error.advice) from error
        if not cart_id.startswith(GUEST_PREFIX):
            raise problems.not_a_guest("send the id or the token of a guest's cart")
        if not caller_of(request).may(cart_id, Scope.CARTS):
            raise cart_not_found()
        return cart_id
