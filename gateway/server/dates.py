"""The header Date of replies (RFC 9110, 6.6.1), made once a second."""

import time
from email.utils import formatdate
from functools import lru_cache


def http_date() -> str:
    """The time now."""
    return _date_of(int(time.time()))


def date_line() -> bytes:
    """The line of a response's head."""
    return _line_of(int(time.time()))


@lru_cache(maxsize=1)
def _date_of(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=1)
def _line_of(second: int) -> bytes:
    return b"date: %b\r\n" % _date_of(second).encode()
