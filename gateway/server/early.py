"""Answers that are made before there is a request: they cost little, for under load there are thousands."""

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from gateway.http.names import Sharing
from gateway.http.problems import CONTENT_TYPE, Problem
from gateway.server.dates import http_date
from gateway.server.heads import Head

_REMEMBERED: Final = 256


class EarlyAnswer(Exception):
    """A request that is answered before anything is made of it: with these bytes."""

    def __init__(self, head: Head, status: int, response: bytes) -> None:
        super().__init__()
        self.head: Final = head
        self.status: Final = status
        self.response: Final = response


def refusal(problem: Problem, *, keep_alive: bool, further: Iterable[tuple[str, str]] = ()) -> bytes:
    """The bytes of a response that carries a problem, with further headers."""
    return _line(problem.kind.status) + http_date().encode() + _rest(problem, keep_alive, tuple(further))


def answer_to(
    head: Head, problem: Problem, further: dict[str, str], sharing: Sharing, *, keep_alive: bool
) -> bytes:
    """The bytes of the response to this request, with further headers, and without its body for HEAD."""
    if sharing.is_on:
        further |= sharing.headers_for(_origin(head))
    response = refusal(problem, keep_alive=keep_alive, further=further.items())
    return response if head.method != "HEAD" else response[: response.index(b"\r\n\r\n") + 4]


@lru_cache(maxsize=16)
def _line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ndate: ".encode()


# Problems are compared by identity: those that are made once are remembered, and others fall out.
@lru_cache(maxsize=_REMEMBERED)
def _rest(problem: Problem, keep_alive: bool, further: tuple[tuple[str, str], ...]) -> bytes:  # noqa: FBT001
    body = problem.body()
    headers = {
        "content-type": CONTENT_TYPE,
        "cache-control": "no-store",
        **problem.headers,
        **dict(further),
        "connection": "keep-alive" if keep_alive else "close",
        "content-length": str(len(body)),
    }
    lines = "".join(f"\r\n{name}: {value}" for name, value in headers.items())
    return f"{lines}\r\n\r\n".encode() + body


def _origin(head: Head) -> str | None:
    return next((value for name, value in head.headers if name == "origin"), None)
