"""What is no valid HTTP/1.1 is refused, and never taken for another request; all else is answered in turn."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.gateway.raw_answers import Answer, ask, check_problem
from tests.gateway.raw_requests import INVALID, VALID, Raw
from tests.support.processes import GatewayProcess

pytestmark = pytest.mark.usefixtures("carts")

AT_ONCE = 16


async def ask_all(port: int, cases: Iterable[Raw], cut: int = 0) -> list[list[Answer]]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask_in_turn(case: Raw) -> list[Answer]:
        async with turn:
            return await ask(port, *filter(None, (case.sent[:cut], case.sent[cut:])))

    return await asyncio.gather(*map(ask_in_turn, cases))


def test_there_are_at_least_five_hundred_different_requests() -> None:
    assert len({case.sent for case in (*INVALID.values(), *VALID.values())}) >= 500


async def test_every_invalid_request_is_refused_in_one_problem_and_ends_the_connection(
    gateway: GatewayProcess,
) -> None:
    got = await ask_all(gateway.port, INVALID.values())
    assert statuses(INVALID, got) == {name: case.statuses for name, case in INVALID.items()}
    for name, (answer,) in zip(INVALID, got, strict=True):
        assert answer.headers["connection"] == "close", name
        check_problem(answer)


async def test_every_valid_request_is_answered_in_turn(gateway: GatewayProcess) -> None:
    cases = {name: case for name, case in VALID.items() if not case.sent.startswith(b"HEAD")}
    got = await ask_all(gateway.port, cases.values())
    assert statuses(cases, got) == {name: case.statuses for name, case in cases.items()}
    for found in got:
        for answer in found:
            assert "date" in answer.headers
            if answer.status >= 400:
                check_problem(answer)


@pytest.mark.parametrize("cut", [1, 2, -1])
async def test_a_valid_request_may_come_in_two_pieces(cut: int, gateway: GatewayProcess) -> None:
    got = await ask_all(gateway.port, VALID.values(), cut)
    assert statuses(VALID, got) == {name: case.statuses for name, case in VALID.items()}


async def test_an_answer_to_head_has_no_body(gateway: GatewayProcess) -> None:
    (answer,) = await ask(gateway.port, VALID["head"].sent)
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("name", ["three requests at once", "chunks and a request at once"])
async def test_a_client_that_has_ended_its_side_is_answered(name: str, gateway: GatewayProcess) -> None:
    sent = VALID[name].sent.replace(b"Connection: close\r\n", b"")
    got = await ask(gateway.port, sent, ends=True)
    assert tuple(answer.status for answer in got) == VALID[name].statuses


@pytest.mark.parametrize("name", ["get", "body", "chunks"])
async def test_a_request_that_ends_too_early_is_refused(name: str, gateway: GatewayProcess) -> None:
    got = await ask(gateway.port, VALID[name].sent[:-1], ends=True)
    assert [answer.status for answer in got] == [400]


async def test_a_body_is_asked_for_where_it_is_read_and_nowhere_else(gateway: GatewayProcess) -> None:
    expecting = VALID["expected body at once"].sent.replace(b"Connection: close\r\n", b"")
    head, _, body = expecting.partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head + b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()

    (answer,) = await ask(gateway.port, head.replace(b"/items", b"/nothing") + b"\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (404, "close")


def statuses(cases: dict[str, Raw], got: list[list[Answer]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(answer.status for answer in found) for name, found in zip(cases, got, strict=True)}
