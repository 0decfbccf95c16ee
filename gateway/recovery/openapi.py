"""Links in the OpenAPI description."""

from typing import Final

from gateway.http.openapi import errors, operation, reply
from gateway.recovery.requests import RecoveredCart

PARAMETERS: Final = {
    "link": {
        "name": "link",
        "in": "path",
        "required": True,
        "description": "the token in a link",
        "schema": {"type": "string", "pattern": "^[ru]1[A-Za-z0-9._-]+$"},
    }
}

RECOVER: Final = operation(
    "recoverCart",
    "Where a link to a cart left behind leads; for a guest's cart with a fresh token",
    {"200": reply("The cart's address, and the token of a guest's cart", RecoveredCart), **errors(404, 503)},
)
SHOW: Final = operation(
    "showUnsubscribe",
    "A page that asks whether to unsubscribe: looking at it changes nothing",
    {"200": {"description": "The page", "content": {"text/html": {}}}, **errors(404)},
)
UNSUBSCRIBE: Final = operation(
    "unsubscribe",
    "Send no more mails about carts to the link's address (RFC 8058)",
    {"200": {"description": "Done", "content": {"text/plain": {}}}, **errors(404, 503)},
)
