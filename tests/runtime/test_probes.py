"""Probes of processes without routes of their own: live while the loop turns, ready while they work."""

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from runtime import probes
from runtime.failstop import Misconfigured
from runtime.health import Checks
from runtime.probes import serve_probes
from runtime.process import Lifetime
from runtime.settings import ProcessSettings
from tests.support.processes import Process
from tests.support.waiting import until

HOST = "127.0.0.1"


def served(checks: Checks) -> str:
    """Where the probes are answered."""
    address = serve_probes(checks, HOST, None)
    assert address is not None
    return address


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of probes."""
    async with httpx.AsyncClient(verify=False, timeout=60) as client:
        yield client


async def test_a_process_is_live_while_its_loop_turns(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{served(Checks())}/health/live"
    assert (await http.get(url)).json() == {"status": "live"}
    monkeypatch.setattr(probes, "LIVE_S", 0.05)
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(httpx.get(url, verify=False, timeout=60)))
    asking.start()
    asking.join()  # meanwhile the loop does not turn
    assert answers[0].status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert answers[0].json() == {"status": "not_live", "detail": "the event loop has not turned for 0.05 s"}


async def test_ready_says_why_not(http: httpx.AsyncClient) -> None:
    checks = Checks(kafka="it is starting")
    url = f"{served(checks)}/health/ready"
    answer = await http.get(url)
    assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert answer.json() == {
        "status": "not_ready",
        "checks": {"kafka": {"status": "failed", "detail": "it is starting"}},
    }
    assert answer.headers["Cache-Control"] == "no-store"
    checks.ok("kafka")
    answer = await http.get(url)
    assert answer.status_code == HTTPStatus.OK
    assert answer.json() == {"status": "ready", "checks": {"kafka": {"status": "ok"}}}
    checks.degraded("kafka", "no answer: password=s3cret")
    answer = await http.get(url)
    assert answer.status_code == HTTPStatus.OK
    assert answer.json() == {
        "status": "degraded",
        "checks": {"kafka": {"status": "degraded", "detail": "no answer: password=***"}},
    }


async def test_metrics_are_on_the_same_port_and_nothing_else_is(http: httpx.AsyncClient) -> None:
    address = served(Checks())
    metrics = await http.get(f"{address}/metrics")
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert "python_info{" in metrics.text
    assert (await http.get(f"{address}/")).status_code == HTTPStatus.NOT_FOUND
    assert (await http.post(f"{address}/health/live")).status_code == HTTPStatus.METHOD_NOT_ALLOWED
    head = await http.head(f"{address}/health/live")
    assert (head.status_code, head.content) == (HTTPStatus.OK, b"")


async def test_a_port_that_is_taken_is_named(http: httpx.AsyncClient) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=rf"CARTSTREAM_METRICS_PORT: {HOST}:{port} cannot be bound"):
            serve_probes(Checks(), HOST, port)
    assert serve_probes(Checks(), HOST, 0) is None
    assert (await http.get(f"{serve_probes(Checks(), HOST, port)}/health/live")).is_success


async def test_silent_clients_take_no_more_than_their_share(http: httpx.AsyncClient) -> None:
    address = served(Checks())
    port = int(address.rpartition(":")[2])
    with ExitStack() as clients:
        silent = [
            clients.enter_context(socket.create_connection((HOST, port))) for _ in range(probes.CLIENTS + 1)
        ]
        assert await asyncio.to_thread(silent[-1].recv, 1) == b""  # it is closed
    await until(lambda: _is_live(http, address), "live again")


async def _is_live(http: httpx.AsyncClient, address: str) -> bool:
    try:
        return (await http.get(f"{address}/health/live")).is_success
    except httpx.TransportError:
        return False


async def test_an_address_of_ipv6_can_be_asked(http: httpx.AsyncClient) -> None:
    if not socket.has_ipv6:
        return
    try:
        address = serve_probes(Checks(), "::1", None)
    except Misconfigured:
        return  # this machine has none
    assert (await http.get(f"{address}/health/live")).is_success


async def test_a_process_is_ready_with_the_last_of_its_parts(tmp_path: Path) -> None:
    lifetime = Lifetime(ProcessSettings(ready_file=tmp_path / "ready"))
    is_ready = lifetime.ready_with({"carts": "they are restored", "products": "they are read"})
    is_ready("carts")
    readiness = lifetime.checks.readiness()
    assert not readiness.ready
    assert {name: check.detail for name, check in readiness.checks.items()} == {
        "process": "it is starting",
        "carts": None,
        "products": "they are read",
    }
    is_ready("products")
    assert lifetime.checks.readiness().status == "ready"
    assert (tmp_path / "ready").exists()
    lifetime.not_ready()
    assert lifetime.checks.readiness().checks["process"].detail == "it is stopping"


PROGRAM = """
import asyncio
from runtime.process import run_process
from runtime.settings import ProcessSettings, load

async def work(lifetime):
    lifetime.ready()
    await asyncio.Event().wait()

run_process("worker", load(ProcessSettings), work)
"""


async def test_a_process_says_in_its_ready_file_and_log_where_it_is_asked(
    http: httpx.AsyncClient, tmp_path: Path
) -> None:
    process = Process("worker", ["-c", PROGRAM], {}, tmp_path, program=sys.executable)
    process.launch()
    try:
        await asyncio.to_thread(process.wait_ready)
        address = process.ready_file.read_text().strip()
        assert (await http.get(f"{address}/health/ready")).json()["status"] == "ready"
        assert f'"probes": "{address}"' in process.tail
        port = address.rpartition(":")[2]
        second = Process("second", ["-c", PROGRAM], {"CARTSTREAM_METRICS_PORT": port}, tmp_path)
        second.launch()
        assert await asyncio.to_thread(second.wait) == 1
        assert f"worker: CARTSTREAM_METRICS_PORT: 0.0.0.0:{port} cannot be bound" in second.tail
        process.send(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0
    finally:
        process.kill()
