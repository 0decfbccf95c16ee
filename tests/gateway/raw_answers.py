"""Sends bytes to a gateway and takes its responses apart, without a client that knows better."""

import asyncio
import json
import re
from typing import NamedTuple


class Answer(NamedTuple):
    """A response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


APART_S = 0.02
"""Between two pieces: long enough that the server mostly gets them one by one."""


async def ask(port: int, *pieces: bytes, ends: bool = False) -> list[Answer]:
    """What the server answers until it closes; `ends`: the client ends its side at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for number, piece in enumerate(pieces):
            await asyncio.sleep(APART_S if number else 0)
            writer.write(piece)
        if ends:
            writer.write_eof()
        return answers(await reader.read())
    finally:
        writer.close()


def answers(received: bytes) -> list[Answer]:
    """The final responses in what was received, which have lengths or no bodies."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        status = re.fullmatch(r"HTTP/1\.1 (\d{3}) (?!UNKNOWN).+", first)
        assert status is not None, head
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if not status[1].startswith("1"):
            found.append(Answer(int(status[1]), headers, received[:size]))
        received = received[size:]
    return found


def check_problem(answer: Answer, slug: str | None = None) -> None:
    """The answer is a complete problem document, of this type."""
    assert answer.headers["content-type"] == "application/problem+json", answer
    assert "date" in answer.headers
    problem = json.loads(answer.body)
    assert problem["status"] == answer.status
    assert problem["type"].startswith("/problems/")
    assert slug is None or problem["type"] == f"/problems/{slug}", problem
    assert problem["title"]
    assert problem["detail"]
