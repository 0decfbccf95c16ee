"""Requests that are answered before they are made: what clients get, and what becomes of connections."""

import asyncio
import logging

import pytest

from gateway.settings import GatewaySettings
from runtime.logs import ACCESS
from tests.gateway.raw_answers import answers, ask, check_problem
from tests.gateway.served_app import Served, serving
from tests.support.waiting import until

FIRST = b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /item HTTP/1.1\r\nHost: x\r\n"
PAUSE_S = 0.05
"""So that the server gets bytes by themselves."""
REFUSED = {
    "read": b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n",
    "body": POST + b"Content-Length: 5\r\n\r\nhello",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
}


def overload(served: Served) -> None:
    """A queue stands, and more is in flight than may be."""
    served.bounds.admission.limit = 1
    served.bounds.admission.in_flight += 1


def relieve(served: Served) -> None:
    served.bounds.admission.in_flight -= 1


def shed(served: Served) -> float | None:
    return served.metrics.registry.get_sample_value(
        "cartstream_gateway_requests_shed_total", {"priority": "read"}
    )


async def connect(
    served: Served, address: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has had an answer: the next request may be refused on the spot."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=(address, 0))
    writer.write(FIRST)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
    return reader, writer


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED.keys())
async def test_a_refused_request_leaves_the_connection_to_the_next(
    sent: bytes, *, is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(monkeypatch) as served:
        if is_first:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        else:
            reader, writer = await connect(served)
        served.paths.clear()
        overload(served)
        writer.write(sent)
        (refused,) = answers(await reader.readuntil(b"\r\n\r\n") + await reader.readuntil(b"}"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["connection"] == "keep-alive"
        check_problem(refused, "overloaded")
        relieve(served)
        writer.write(LAST)
        (answered,) = answers(await reader.read())
        assert answered.status == 204
        assert served.paths == ["last"]
        assert served.bounds.admission.in_flight == 0
        assert shed(served) == 1
        writer.close()


async def test_the_answer_does_not_wait_for_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as served:
        overload(served)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(POST + b"Content-Length: 5\r\n\r\nhe")
        (refused,) = answers(await reader.readuntil(b"\r\n\r\n") + await reader.readuntil(b"}"))
        check_problem(refused, "overloaded")
        relieve(served)
        writer.write(b"llo" + LAST)
        (answered,) = answers(await reader.read())
        assert answered.status == 204
        writer.close()


async def test_the_body_of_a_refused_request_is_not_taken_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = REFUSED["read"]
    async with serving(monkeypatch) as served:
        reader, writer = await connect(served)
        overload(served)
        for _ in range(2):
            writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(body))
            (refused,) = answers(await reader.readuntil(b"\r\n\r\n") + await reader.readuntil(b"}"))
            check_problem(refused, "overloaded")
            writer.write(body)
            await asyncio.sleep(PAUSE_S)
        writer.write(LAST)
        (refused,) = answers(await reader.read())
        check_problem(refused, "overloaded")
        assert shed(served) == 3
        writer.close()


@pytest.mark.parametrize("pause_s", [0, PAUSE_S])
async def test_requests_that_come_in_pieces_or_together_get_one_answer_each(
    pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = REFUSED["read"] + REFUSED["body"] + REFUSED["chunks"] + LAST
    async with serving(monkeypatch) as served:
        reader, writer = await connect(served)
        overload(served)
        for at in range(0, len(sent), 70):
            writer.write(sent[at : at + 70])
            await asyncio.sleep(pause_s)
        found = answers(await reader.read())
        assert [answer.status for answer in found] == [503] * 4
        assert [answer.headers["connection"] for answer in found] == ["keep-alive"] * 3 + ["close"]
        assert served.paths == ["first"]
        writer.close()


async def test_of_those_that_come_in_one_turn_no_more_are_taken_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(monkeypatch) as served:
        connections = [await connect(served) for _ in range(4)]
        served.bounds.admission.limit = 2
        served.answers.clear()  # those that the kernel brings a turn later find no more room
        for _, writer in connections:
            writer.write(REFUSED["read"])
        await until(lambda: shed(served) == 2, "two are refused")
        served.answers.set()
        found = [(await reader.readuntil(b"\r\n\r\n"))[9:12] for reader, _ in connections]
        assert sorted(found) == [b"204", b"204", b"503", b"503"]
        await until(lambda: served.bounds.admission.in_flight == 0, "all are answered")
        for _, writer in connections:
            writer.close()


async def test_who_is_over_a_quota_takes_no_room_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, GatewaySettings(rate_per_address=2, proxy_networks="")) as served:
        greedy = [await connect(served, "127.0.0.2") for _ in range(2)]
        honest = await connect(served, "127.0.0.3")
        served.bounds.admission.limit = 1
        for _, writer in (*greedy, honest):
            writer.write(REFUSED["read"])
        for reader, _ in greedy:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 429 ")
            (refused,) = answers(head + await reader.readuntil(b"}"))
            check_problem(refused, "rate-limited")
            assert refused.headers["ratelimit"] == '"address";r=0;t=30'
        head = await honest[0].readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204 ")
        assert b'ratelimit: "address";r=0;t=30' in head
        assert served.bounds.admission.in_flight == 0
        for _, writer in (*greedy, honest):
            writer.close()


async def test_nothing_is_answered_after_the_last_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as served:
        reader, writer = await connect(served)
        overload(served)
        writer.write(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        (refused,) = answers(head + await reader.read())
        assert refused.headers["connection"] == "close"
        writer.write(REFUSED["read"])
        await asyncio.sleep(PAUSE_S)
        assert shed(served) == 1
        writer.close()


async def test_who_waits_for_leave_to_send_a_body_is_told_before_and_the_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(monkeypatch) as served:
        overload(served)
        sent = POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        (refused,) = await ask(served.port, sent)
        assert refused.headers["connection"] == "close"
        check_problem(refused, "overloaded")


async def test_head_is_refused_without_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as served:
        overload(served)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(LAST.replace(b"GET", b"HEAD"))
        received = await reader.read()
        assert received.startswith(b"HTTP/1.1 503 ")
        assert received.endswith(b"\r\n\r\n")
        writer.close()


async def test_a_page_of_an_allowed_origin_may_read_that_it_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = "https://shop.example.com"
    async with serving(monkeypatch, GatewaySettings(cors_origins=shop)) as served:
        overload(served)
        (refused,) = await ask(served.port, LAST.replace(b"Host: x", b"Host: x\r\nOrigin: " + shop.encode()))
        assert refused.headers["access-control-allow-origin"] == shop
        assert "retry-after" in refused.headers["access-control-expose-headers"]
        (foreign,) = await ask(
            served.port, LAST.replace(b"Host: x", b"Host: x\r\nOrigin: https://evil.example")
        )
        assert "access-control-allow-origin" not in foreign.headers


async def test_the_access_log_has_a_line_of_what_was_turned_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines = logging.getLogger(ACCESS)
    monkeypatch.setattr(lines, "propagate", True)
    caplog.set_level(logging.INFO, ACCESS)
    async with serving(monkeypatch, GatewaySettings(access_log=True)) as served:
        reader, writer = await connect(served)
        overload(served)
        writer.write(REFUSED["read"])
        await reader.readuntil(b"}")
        writer.write(LAST.replace(b"/last", b"/refused"))
        await reader.read()
        writer.close()
    found = [(record.status, record.request) for record in caplog.records if record.name == ACCESS]  # type: ignore[attr-defined]
    assert found == [(204, "GET http://x/first"), (503, "GET /one"), (503, "GET /refused")]


async def test_an_address_over_its_quota_is_refused_and_told_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = GatewaySettings(rate_per_address=2, proxy_networks="")
    async with serving(monkeypatch, settings) as served:
        found = await ask(served.port, REFUSED["read"] * 2 + LAST)
        assert [answer.status for answer in found] == [204, 204, 429]
        assert [answer.headers["ratelimit"] for answer in found] == [
            '"address";r=1;t=30',
            '"address";r=0;t=30',
            '"address";r=0;t=30',
        ]
        assert {answer.headers["ratelimit-policy"] for answer in found} == {'"address";q=2;w=60'}
        assert found[-1].headers["retry-after"] == "30"
        check_problem(found[-1], "rate-limited")
        assert served.bounds.admission.in_flight == 0
