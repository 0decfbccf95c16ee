"""Merges in the OpenAPI description."""

from typing import Final

from gateway.http.openapi import errors, header, json_body, operation, reply, reply_header
from gateway.merges.requests import MergeDocument, MergeGuest

PARAMETERS: Final = {
    "merge_id": {
        "name": "merge_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^m_[0-9a-f]{32}$"},
    }
}

_LOCATION: Final = {"Location": reply_header("where to ask how far the merge is")}

MERGE: Final = operation(
    "mergeGuestCart",
    "Carry a guest's cart over: into a user's at login, or into that of the guest's new session",
    {
        "200": reply("The merge is done, now or before", MergeDocument, headers=_LOCATION),
        "202": reply("The merge goes on without the request", MergeDocument, headers=_LOCATION),
        **errors(400, 404, 409, 413, 415, 422, 503),
    },
    parameters=[header("Idempotency-Key", "not needed: a guest's cart is merged once")],
    body=json_body(MergeGuest),
)
READ: Final = operation(
    "readMerge", "How far a merge is", {"200": reply("The merge", MergeDocument), **errors(404, 503)}
)
