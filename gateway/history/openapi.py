"""The history of carts in the OpenAPI description."""

from typing import Final

from gateway.carts.examples import CART_ID, TIME
from gateway.history.requests import DEFAULT_LIMIT, LONGEST_CURSOR, MAX_LIMIT
from gateway.history.service import HistoryEntry, HistoryPage, HistoryStep
from gateway.http.openapi import number, operation, query, reply
from gateway.http.problems import DATABASE_UNAVAILABLE, NO_HISTORY

_PAGE: Final = HistoryPage(
    entries=[
        HistoryEntry(
            version=3596012345678902,
            time=TIME,
            steps=[HistoryStep("add", "mug", 2)],
            actor=CART_ID,
            cause="items.add",
        )
    ],
    next_cursor=None,
)

READ: Final = operation(
    "readHistory",
    "The cart's operations, newest first; only where there is a history",
    {"200": reply("A page", HistoryPage, example=_PAGE)},
    problems=(DATABASE_UNAVAILABLE, NO_HISTORY),
    parameters=[
        query(
            "cursor",
            "next_cursor of the page before, as it came",
            "MzU5NjAxMjM0NTY3ODkwMjox",
            {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": LONGEST_CURSOR},
        ),
        number("limit", f"{DEFAULT_LIMIT} unless given", DEFAULT_LIMIT, MAX_LIMIT),
    ],
)
