"""Merges in the OpenAPI description."""

from typing import Final

import msgspec

from carts.merging import Strategy
from gateway.carts.examples import CART_ID, GUEST_ID, KEY, TIME, VERSION
from gateway.http import problems
from gateway.http.grammars import IDEMPOTENCY_KEY, identifier
from gateway.http.openapi import header, json_body, operation, path_parameter, reply, reply_header
from gateway.merges.requests import MergeDocument, MergeGuest, MergeProgress, MergeStatus

_MERGE_ID: Final = "m_0af7651916cd43dd8448eb211c80319c"
_RUNNING: Final = MergeDocument(
    merge_id=_MERGE_ID,
    guest_cart_id=GUEST_ID,
    cart_id=CART_ID,
    strategy=Strategy.SUM,
    status=MergeStatus.RUNNING,
    lines=MergeProgress(0, 1),
    warnings=[],
    left=[],
    version=None,
    began_at=TIME,
)
_DONE: Final = msgspec.structs.replace(
    _RUNNING, status=MergeStatus.DONE, lines=MergeProgress(1, 1), version=VERSION, finished_at=TIME
)

RULES: Final = {MergeGuest.__name__: {"oneOf": [{"required": ["guest"]}, {"required": ["session"]}]}}

PARAMETERS: Final = {
    "merge_id": path_parameter("merge_id", "as the merge answered it", _MERGE_ID, identifier("merge_id"))
}

_LOCATION: Final = {"Location": reply_header("where to ask how far the merge is", f"/v1/merges/{_MERGE_ID}")}
_LATER: Final = {"Retry-After": reply_header("seconds until it is worth asking", "1", {"type": "integer"})}

MERGE: Final = operation(
    "mergeGuestCart",
    "Carry a guest's cart over: into a user's at login, or into that of the guest's new session",
    {
        "200": reply(
            "The merge is done, now or before",
            MergeDocument,
            example=_DONE,
            headers=_LOCATION,
            links={"readMerge": ("merge_id", "merge_id")},
        ),
        "202": reply(
            "The merge goes on without the request",
            MergeDocument,
            example=_RUNNING,
            headers={**_LOCATION, **_LATER},
        ),
    },
    problems=(
        problems.CHECKOUT_IN_PROGRESS,
        problems.CLAIMED,
        problems.DATABASE_UNAVAILABLE,
        problems.MERGED,
        problems.OUTBOX_FULL,
        problems.RESTORING,
        problems.STORE_UNAVAILABLE,
        problems.TOO_MANY_CHANGES,
    ),
    parameters=[header("Idempotency-Key", "not needed: a guest's cart is merged once", KEY, IDEMPOTENCY_KEY)],
    body=json_body(
        MergeGuest,
        {
            "id": MergeGuest(guest=GUEST_ID),
            "session": MergeGuest(session="a-session-id", strategy=Strategy.MAX),
        },
    ),
)
READ: Final = operation(
    "readMerge",
    "How far a merge is",
    {"200": reply("The merge", MergeDocument, example=_DONE)},
    problems=(problems.DATABASE_UNAVAILABLE, problems.MERGE_NOT_FOUND),
)
