"""Who may see the page, and which requests may change something. Pure."""

import base64
import hmac
from collections.abc import Mapping
from typing import Final

from gateway.demo.origin import is_from_own_page, is_of_same_origin, is_to_this_machine

CHALLENGE: Final = 'Basic realm="cartstream operations", charset="UTF-8"'
"""Makes a browser ask for the token."""


def is_let_in(token: str | None, headers: Mapping[str, str]) -> bool:
    """Whether a request may read; names of headers are in lower case.

    Without a token the name asked for must be this machine's: a foreign name may lead here, too, and its
    pages would be of the same origin.
    """
    if token is None:
        return is_to_this_machine(headers)
    return hmac.compare_digest(_presented(headers.get("authorization", "")), token.encode())


def may_read_data(headers: Mapping[str, str]) -> bool:
    """Whether a request for data is one of the page's, or of a program: another site's page could load it.

    It could not read the answer, but it could make the page's process work.
    """
    return headers.get("sec-fetch-site", "none") in {"same-origin", "none"}


def may_change(token: str | None, headers: Mapping[str, str]) -> bool:
    """Whether a request that was let in may change something: the page sends it, or a program with a token.

    A browser sends the token by itself, for pages of others, too; but it says where the request is from.
    """
    if token is None:
        return is_from_own_page(headers)
    is_program = headers.get("authorization", "").lower().startswith("bearer ")
    return is_program or is_of_same_origin(headers)


def _presented(authorization: str) -> bytes:
    scheme, _, rest = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip().encode(errors="surrogateescape")
        case "basic":
            try:
                return base64.b64decode(rest, validate=True).partition(b":")[2]
            except ValueError:
                return b""
        case _:
            return b""
