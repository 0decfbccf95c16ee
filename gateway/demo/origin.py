"""Whether a request that destroys something comes from a page of this gateway, on this machine."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_OWN_NAMES: Final = {"127.0.0.1", "localhost", "::1"}


def is_from_own_page(headers: Mapping[str, str]) -> bool:
    """Whether the browser says so, by Sec-Fetch-Site or else by Origin; names of header are in lower case.

    The host must be this machine by address or as localhost: a foreign name may lead here, too, and its pages
    would then be of the same origin. A request without both headers is of no page.
    """
    host = headers.get("host", "")
    if _hostname(host) not in _OWN_NAMES:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return headers.get("origin") in {f"http://{host}", f"https://{host}"}


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
