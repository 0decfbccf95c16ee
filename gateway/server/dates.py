"""The header Date of replies (RFC 9110, 6.6.1), made once a second."""

import time
from email.utils import formatdate
from functools import lru_cache


def http_date() -> str:
    """The time now."""
    return _date_of(int(time.time()))


def date_header() -> tuple[bytes, bytes]:
    """The header as a response has it."""
    return _header_of(int(time.time()))


@lru_cache(maxsize=1)
def _date_of(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=1)
def _header_of(second: int) -> tuple[bytes, bytes]:
    return b"date", _date_of(second).encode()
