"""The server itself, with an app that does nothing: turns of connections, backlog, descriptors, addresses."""

import asyncio
import resource
import socket
import struct
from typing import Any

import pytest
import structlog

from gateway.metrics import Metrics
from gateway.server.backlog import BACKLOG, UNREAD_BYTES
from gateway.server.bounds import Bodies, Connections, Full
from gateway.server.connections import Unread
from gateway.server.descriptors import RESERVED, room_for
from gateway.settings import GatewaySettings
from tests.gateway.served_app import bounds_of, serving
from tests.support.waiting import until

REQUEST = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_pipeline_lets_the_requests_of_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(monkeypatch) as served:
        _, other = await asyncio.open_connection("127.0.0.1", served.port)
        reader, greedy = await asyncio.open_connection("127.0.0.1", served.port)
        greedy.write(REQUEST % b"greedy" * 1000)
        other.write(REQUEST % b"other")
        await until(lambda: len(served.paths) == 1001, "all requests answered")
        assert served.paths.index("other") < 100
        for writer in (other, greedy):
            writer.close()
        assert reader is not None


async def test_a_body_in_many_chunks_lets_the_requests_of_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = b"8\r\n        \r\n" * 5000 + b"0\r\n\r\n"
    head = b"POST /greedy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(monkeypatch) as served:
        _, other = await asyncio.open_connection("127.0.0.1", served.port)
        _, greedy = await asyncio.open_connection("127.0.0.1", served.port)
        greedy.write(head + body)
        other.write(REQUEST % b"other")
        await until(lambda: len(served.paths) == 2, "all requests answered")
        assert served.paths == ["other", "greedy"]
        for writer in (other, greedy):
            writer.close()


async def test_head_of_a_stream_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(monkeypatch) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        for _ in range(2):
            writer.write((REQUEST % b"stream").replace(b"GET", b"HEAD"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert served.paths == ["stream", "stream"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_client_that_reads_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, RESPONSE_TIMEOUT=0.2) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
        writer.write(REQUEST % b"large" * 50)

        def is_cut() -> bool:
            cut = served.metrics.registry.get_sample_value(
                "cartstream_gateway_connections_cut_total", {"reason": "unread"}
            )
            return cut == 1

        await until(is_cut, "connection cut")
        assert served.paths.count("large") < 50
        assert not reader.at_eof()
        writer.close()


def test_a_client_that_reads_slowly_is_not_one_that_reads_nothing() -> None:
    before = Unread(10_000, since=0.0)
    assert before.is_read(Unread(8_000, since=1.0), 1024)
    assert not before.is_read(Unread(9_990, since=1.0), 1024)


async def test_the_backlog_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch) as served:
        # Of a listening socket, tcpi_sacked is the backlog, which the kernel caps.
        info = served.listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert struct.unpack_from("I", info, 28)[0] == min(BACKLOG, somaxconn())


async def test_the_kernel_keeps_little_for_a_client_that_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(monkeypatch) as served:
        # Linux takes twice as much as it is told, and no more than net.core.wmem_max.
        assert served.listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * UNREAD_BYTES


def somaxconn() -> int:
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read())


@pytest.mark.parametrize(
    ("limits", "connections", "soft", "room"),
    [
        ((1024, 4096), 2000, 2000 + RESERVED, 2000),
        ((1024, 1024), 2000, 1024, 1024 - RESERVED),
        ((65536, 65536), 2000, 65536, 2000),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 2000, resource.RLIM_INFINITY, 2000),
        ((1024, resource.RLIM_INFINITY), 2000, 2000 + RESERVED, 2000),
    ],
)
def test_descriptors_are_raised_or_named(
    limits: tuple[int, int], connections: int, soft: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = limits

    def set_limits(_: int, wanted: tuple[int, int]) -> None:
        nonlocal now
        now = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: now)
    monkeypatch.setattr(resource, "setrlimit", set_limits)
    with structlog.testing.capture_logs() as logs:
        assert room_for(connections) == room
    assert now == (soft, limits[1])
    assert [entry["event"] for entry in logs] == ["gateway.too_few_descriptors"] * (room < connections)


def bounds(**settings: Any) -> Connections:
    return bounds_of(GatewaySettings(**settings), Metrics()).connections


def test_connections_are_bounded_in_all() -> None:
    found = bounds(connections_max=10)
    assert [found.enter("10.0.0.1") for _ in range(11)] == [None] * 10 + [Full.ALL]
    found.leave("10.0.0.1")
    assert found.enter("10.0.0.2") is None


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "::ffff:198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("10.1.2.3", "10.1.2.3", False),
        ("::1", "::1", False),
        ("::ffff:10.1.2.3", "10.1.2.3", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_connections_of_an_address_are_bounded_unless_it_is_a_proxys(
    first: str, second: str, *, is_one: bool
) -> None:
    found = bounds(connections_per_address=1)
    assert found.enter(first) is None
    assert found.enter(second) == (Full.ADDRESS if is_one else None)
    if is_one:
        found.leave(first)
        assert found.enter(second) is None


def test_bodies_are_held_up_to_the_bound() -> None:
    bodies = Bodies(100)
    assert [bodies.hold(60), bodies.hold(60), bodies.hold(40)] == [True, False, True]
    bodies.let_go(40)
    assert bodies.hold(40)
