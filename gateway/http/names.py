"""By which names the gateway may be asked, and which other sites' pages may read what it answers.

A page whose name its owner lets lead to this machine (DNS rebinding) is of the same origin for a browser:
only the Host header tells. What other origins may read is what CORS (https://fetch.spec.whatwg.org) allows.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

from sanic import Request, Sanic
from sanic.response import BaseHTTPResponse

_LOCAL: Final = "localhost"
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]*))(?::[0-9]*)?", re.ASCII)
_LONGEST: Final = 260
"""Characters of a name and a port."""
_REMEMBERED: Final = 1024

REQUEST_HEADERS: Final = (
    *("authorization", "cart-token", "cart-session", "acting-for", "content-type", "idempotency-key"),
    *("if-match", "if-none-match", "last-event-id", "prefer", "traceparent", "x-request-id"),
)
"""What a page of an allowed origin may send."""
RESPONSE_HEADERS: Final = (
    *(
        "date",
        "etag",
        "location",
        "retry-after",
        "allow",
        "ratelimit",
        "ratelimit-policy",
        "preference-applied",
    ),
    *("cart-receipt", "cart-freshness", "catalogue-freshness", "cart-at", "idempotency-replayed"),
)
"""What it may read beside the body."""
_REMEMBERED_S: Final = 600


class Names:
    """The names that lead here."""

    def __init__(self, names: Iterable[str], *, open_to_all: bool) -> None:
        """`.example.com` stands for all names below. Without names: any if `open_to_all`, else local ones."""
        self._names: Final = frozenset(name.lower() for name in names)
        self._any: Final = open_to_all and not self._names
        self._remembered: Final = lru_cache(maxsize=_REMEMBERED)(self._include)

    def include(self, host: str) -> bool:
        """Whether a request with this Host is for this gateway."""
        return self._any or (len(host) <= _LONGEST and self._remembered(host))

    def _include(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = (found[1] or found[2]).lower().removesuffix(".")
        # An address is no name: nobody can have let it lead elsewhere.
        if _is_address(name) or name == _LOCAL or name.endswith(f".{_LOCAL}"):
            return True
        if not self._names:
            return bool(name) and "." not in name  # of a service beside this one; nobody can register it
        parents = [name[at:] for at, character in enumerate(name) if character == "."]
        return not self._names.isdisjoint({name, *parents})


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class Sharing:
    """The origins whose pages may read replies."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._allowed: Final = frozenset(origins)
        self._fixed: Final = {
            "access-control-allow-credentials": "true",
            "access-control-expose-headers": ", ".join(RESPONSE_HEADERS),
        }

    @property
    def is_on(self) -> bool:
        """Whether there is any. If not, no reply is different."""
        return bool(self._allowed)

    def headers_for(self, origin: str | None, vary: str | None = None) -> dict[str, str]:
        """What lets a page of this origin read a reply, which varies with `vary` otherwise."""
        found = {"vary": "origin" if vary is None else f"{vary}, origin"}
        if origin in self._allowed:
            found |= {"access-control-allow-origin": str(origin), **self._fixed}
        return found


def share(app: Sanic[Any, Any], sharing: Sharing) -> None:
    """Let pages of these origins read the app's replies."""
    if not sharing.is_on:
        return
    preflight = {
        "access-control-allow-headers": ", ".join(REQUEST_HEADERS),
        "access-control-max-age": str(_REMEMBERED_S),
    }

    async def add(request: Request, response: BaseHTTPResponse) -> None:
        headers = response.headers
        found = sharing.headers_for(request.headers.get("origin"), headers.get("vary"))
        headers.update(found)
        if len(found) == 1:
            return
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            headers.update({"access-control-allow-methods": headers.get("allow", ""), **preflight})

    app.register_middleware(add, "response")
