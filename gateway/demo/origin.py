"""Whether a request that destroys something comes from a page of this server, on this machine."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_OWN_NAMES: Final = {"127.0.0.1", "localhost", "::1"}


def is_from_own_page(headers: Mapping[str, str]) -> bool:
    """Whether the browser says so; names of headers are in lower case.

    The host must be this machine by address or as localhost: a foreign name may lead here, too, and its pages
    would then be of the same origin.
    """
    return is_to_this_machine(headers) and is_of_same_origin(headers)


def is_to_this_machine(headers: Mapping[str, str]) -> bool:
    """Whether the host that was asked for is this machine by address or as localhost."""
    return _hostname(headers.get("host", "")) in _OWN_NAMES


def is_of_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether the browser says so, by Sec-Fetch-Site or else by Origin; without both it is of no page."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    host = headers.get("host", "")
    return headers.get("origin") in {f"http://{host}", f"https://{host}"}


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
