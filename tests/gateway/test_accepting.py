"""Connections that come together are accepted together, on the loop that gateways run on."""

import asyncio
import os
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import structlog
import uvloop
from sanic.server.async_server import AsyncioServer

from gateway.server import accepting
from gateway.server.accepting import AT_ONCE, Acceptor
from tests.gateway.served_app import Served, serving
from tests.support.waiting import until, until_blocking

CLIENTS = 2 * AT_ONCE


def accepted(served: Served) -> float | None:
    return served.metrics.registry.get_sample_value("cartstream_gateway_connections")


def connect(served: Served, opened: ExitStack, clients: int) -> None:
    """The kernel connects them; the loop has no turn meanwhile."""
    for _ in range(clients):
        opened.enter_context(socket.create_connection(("127.0.0.1", served.port)))
    # A client may be connected a moment before the server can accept it.
    until_blocking(lambda: acceptable(served) == clients, "all can be accepted")


def acceptable(served: Served) -> int:
    """Of a listening socket, tcpi_unacked is how many connections wait to be accepted."""
    info = served.listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    found: int = struct.unpack_from("I", info, 24)[0]
    return found


def test_connections_that_come_together_are_accepted_in_few_turns_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def check() -> None:
        async with serving(monkeypatch) as served:
            with ExitStack() as opened:
                connect(served, opened, CLIENTS)
                for _ in range(10):
                    await asyncio.sleep(0)
                assert accepted(served) == CLIENTS

    uvloop.run(check())


def test_connections_that_find_no_descriptor_are_accepted_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "_AGAIN_S", 0.01)

    async def check() -> None:
        async with serving(monkeypatch) as served:
            with ExitStack() as opened, structlog.testing.capture_logs() as logs:
                connect(served, opened, 3)
                with no_descriptors():
                    await until(lambda: len(logs) > 1, "it was tried again")
                assert {entry["event"] for entry in logs} == {"gateway.server.not_accepting"}
                await until(lambda: accepted(served) == 3, "all are accepted")

    uvloop.run(check())


@contextmanager
def no_descriptors() -> Iterator[None]:
    """The process gets no more of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("poll_s", [0, 0.05])
def test_a_connection_that_is_accepted_just_before_the_stop_is_answered_before_the_stores_are_left(
    monkeypatch: pytest.MonkeyPatch, poll_s: float
) -> None:
    # At 0 the server looks for idle connections in the turn in which this one is opened.
    monkeypatch.setattr("gateway.server.serving._POLL_S", poll_s)
    open_, after_stop = Acceptor._open, AsyncioServer.after_stop  # noqa: SLF001
    answered_before: list[str] = []

    async def check() -> None:
        async with serving(monkeypatch) as served:

            async def stop_and_open(acceptor: Acceptor, connection: socket.socket) -> None:
                served.server.stop()
                await asyncio.sleep(0.2)
                await open_(acceptor, connection)

            async def note_and_stop(server: AsyncioServer) -> None:
                answered_before.extend(served.paths)
                await after_stop(server)  # type: ignore[no-untyped-call]

            monkeypatch.setattr(Acceptor, "_open", stop_and_open)
            monkeypatch.setattr(AsyncioServer, "after_stop", note_and_stop)
            with socket.create_connection(("127.0.0.1", served.port)) as client:
                client.sendall(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n")
                assert (await asyncio.to_thread(client.recv, 1000)).startswith(b"HTTP/1.1 204")

    uvloop.run(check())
    assert answered_before == ["late"]
