"""Links in the OpenAPI description."""

from typing import Final

from gateway.carts.examples import GUEST_ID, TIME
from gateway.http.openapi import HTML, operation, path_parameter, reply, text_reply
from gateway.http.problems import DATABASE_UNAVAILABLE, LINK_NOT_FOUND
from gateway.recovery.requests import RecoveredCart

PARAMETERS: Final = {
    "link": path_parameter(
        "link",
        "the token in a link",
        "r1.Z3Vlc3Q6WDdRaw.1796021581.5vXn0r2mQkq4",
        {"type": "string", "pattern": "^[ru]1[A-Za-z0-9._-]+$"},
    )
}

RECOVER: Final = operation(
    "recoverCart",
    "Where a link to a cart left behind leads; for a guest's cart with a fresh token",
    {
        "200": reply(
            "The cart's address, and the token of a guest's cart",
            RecoveredCart,
            example=RecoveredCart(
                GUEST_ID,
                f"/v1/carts/{GUEST_ID}",
                "g1.WDdRazJ2VHpSazJ5TTBiRDNyNXc4QQ.1796021581.5vXn0r2m",
                TIME,
            ),
        )
    },
    problems=(DATABASE_UNAVAILABLE, LINK_NOT_FOUND),
)
SHOW: Final = operation(
    "showUnsubscribe",
    "A page that asks whether to unsubscribe: looking at it changes nothing",
    {"200": text_reply("The page", HTML, "<!doctype html>…")},
    problems=(LINK_NOT_FOUND,),
)
UNSUBSCRIBE: Final = operation(
    "unsubscribe",
    "Send no more mails about carts to the link's address (RFC 8058)",
    {"200": text_reply("Done", "text/plain", "You will get no more mails about carts you have left behind.")},
    problems=(DATABASE_UNAVAILABLE, LINK_NOT_FOUND),
)
