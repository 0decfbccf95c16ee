"""The overview's arithmetic: rates, percentiles, jobs, and what processes answer."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ops.overview import targets
from ops.overview.processes import Heard, Processes, ProcessState, heard, process_of
from ops.overview.samples import Samples, Span, quantile, rate, rises, timings
from ops.overview.settings import OverviewSettings
from ops.overview.targets import Target
from ops.overview.traffic import jobs, times, traffic
from runtime.health import Check, Health, judge
from runtime.targets import MetricsTarget

TARGET = Target("jobs", "http://127.0.0.1:9400", is_given=False)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that has other work an answer may take longer than the page waits for it."""
    monkeypatch.setattr("ops.overview.processes._TIMEOUT", aiohttp.ClientTimeout(total=60))


class Gateway:
    """A registry with some of a gateway's metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.changes = Counter("cartstream_gateway_changes_total", "", ["durability"], registry=self.registry)
        self.seconds = Histogram(
            "cartstream_gateway_change_seconds", "", buckets=(0.01, 0.1, 1), registry=self.registry
        )

    def samples(self, at_s: float) -> Samples:
        """What it says at a moment."""
        return Samples(generate_latest(self.registry).decode(), at_s)


def test_rates_are_those_of_all_processes_and_a_new_process_began_at_nothing() -> None:
    first, second, renewed = Gateway(), Gateway(), Gateway()
    first.changes.labels("kafka").inc(100)
    second.changes.labels("kafka").inc(500)
    before = first.samples(10.0), second.samples(10.0)
    first.changes.labels("kafka").inc(20)
    first.changes.labels("redis").inc(10)
    renewed.changes.labels("kafka").inc(50)
    spans = [Span(before[0], first.samples(20.0)), Span(before[1], renewed.samples(20.0))]
    assert rate(spans, "cartstream_gateway_changes_total") == 8.0
    assert rises(spans, "cartstream_gateway_changes_total", "durability") == {"kafka": 70.0, "redis": 10.0}


def test_what_no_process_tells_is_not_known_rather_than_nothing() -> None:
    told = traffic([], [])
    assert (told.changes_per_s, told.change, told.connections) == (None, None, None)
    assert (times([]), jobs({}, 0.0)) == ([], [])


def test_changes_that_cannot_be_published_again_are_counted_and_those_that_wait_are_not() -> None:
    registry = CollectorRegistry()
    left = Counter("cartstream_redis_sink_not_republished_changes_total", "", ["why"], registry=registry)
    for why, count in (("too_old", 2), ("in_vain", 1), ("backlog", 5), ("no_change", 7)):
        left.labels(why).inc(count)
    said = Samples(generate_latest(registry).decode(), 0.0)
    assert traffic([Span(said, said)], []).changes_lost == 3


def test_percentiles_of_the_last_minute_leave_out_what_was_before() -> None:
    gateway = Gateway()
    for _ in range(1000):
        gateway.seconds.observe(0.9)
    before = gateway.samples(0.0)
    for _ in range(90):
        gateway.seconds.observe(0.005)
    for _ in range(10):
        gateway.seconds.observe(0.05)
    span = Span(before, gateway.samples(10.0))
    change = traffic([span], [span]).change
    assert change is not None
    assert (change.name, change.per_s) == ("gateway change", 10.0)
    assert change.p50_ms is not None
    assert change.p50_ms < 10 <= (change.p99_ms or 0) <= 100
    assert times([span]) == [change]


@given(st.lists(st.floats(0, 2), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
@settings(max_examples=50)
def test_a_percentile_is_in_the_bucket_of_the_value_that_it_stands_for(
    values: list[float], share: float
) -> None:
    bounds = (0.01, 0.1, 1.0)
    buckets = {bound: float(sum(value <= bound for value in values)) for bound in bounds}
    found = quantile(share, buckets | {float("inf"): float(len(values))})
    exact = sorted(values)[-int(-share * len(values) // 1) - 1]
    assert found is not None
    upper = next((bound for bound in bounds if exact <= bound), bounds[-1])
    lower = max((bound for bound in (0.0, *bounds) if bound < exact), default=0.0)
    assert min(lower, bounds[-1]) <= found <= upper


def test_a_percentile_of_nothing_is_not_known() -> None:
    assert quantile(0.5, {}) is None
    assert quantile(0.5, {0.1: 0.0, float("inf"): 0.0}) is None


def test_a_job_is_done_by_its_leader_and_its_newest_success_counts() -> None:
    registry = CollectorRegistry()
    leading = Gauge("cartstream_jobs_leading", "", ["job"], registry=registry)
    done = Gauge("cartstream_jobs_last_success_timestamp_seconds", "", ["job"], registry=registry)
    leading.labels("relay").set(0)
    done.labels("relay").set(100)
    idle = Samples(generate_latest(registry).decode(), 0.0)
    leading.labels("relay").set(1)
    leading.labels("expiry").set(0)
    done.labels("relay").set(140)
    busy = Samples(generate_latest(registry).decode(), 0.0)
    expiry, relay = jobs({"one": idle, "two": busy}, 150.0)
    assert (relay.process, relay.done_before_s) == ("two", 10.0)
    assert (expiry.process, expiry.done_before_s) == (None, None)


def test_a_process_is_as_its_probe_says() -> None:
    metrics = (200, b"cartstream_jobs_outbox_rows 1\n")
    checks = {"redis": Check(Health.FAILED, "it does not answer"), "kafka": Check(Health.OK)}
    waiting = heard((503, msgspec.json.encode(judge(checks))), metrics, 1.0)
    found = process_of(TARGET, waiting, [], 0.0)
    assert (found.state, found.failing) == (ProcessState.NOT_READY, {"redis": "it does not answer"})
    whole = heard((200, msgspec.json.encode(judge({}))), metrics, 1.0)
    assert process_of(TARGET, whole, [], 0.0).state is ProcessState.READY
    problem = {"status": 503, "type": "not-ready", "readiness": "not_ready", "checks": {}}
    refused = heard((503, msgspec.json.encode(problem)), metrics, 1.0)
    assert process_of(TARGET, refused, [], 0.0).state is ProcessState.NOT_READY


def test_of_each_gateway_it_is_known_how_long_its_requests_take_without_its_probes() -> None:
    registry = CollectorRegistry()
    seconds = Histogram(
        "cartstream_gateway_request_seconds", "", ["route"], buckets=(0.01, 0.1, 1), registry=registry
    )

    def samples(at_s: float) -> Samples:
        return Samples(generate_latest(registry).decode(), at_s)

    seconds.labels("GET /health/ready").observe(0.9)
    kept = [samples(0.0)]
    for _ in range(100):
        seconds.labels("GET /health/ready").observe(0.9)
        seconds.labels("GET /v1/carts/{cart_id}").observe(0.005)
    kept.append(samples(2.0))
    said = Heard(None, kept[-1])
    Histogram("cartstream_gateway_change_seconds", "", registry=registry).observe(0.005)
    span = Span(kept[0], samples(4.0))
    assert {name for name, _ in timings([span])} > {"cartstream_gateway_request_seconds"}
    assert {name for name, _ in timings([span], "cartstream_gateway_request_seconds")} == {
        "cartstream_gateway_request_seconds"
    }
    found = process_of(TARGET, said, kept, 0.0).requests_p99_ms
    assert found is not None
    assert found <= 10
    assert process_of(TARGET, said, kept[:1], 0.0).requests_p99_ms is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((401, b"{}"), "CARTSTREAM_OPS_TARGETS_TOKEN"),
        ((404, b""), "with 404"),
        ((200, b"\xff"), "no metrics"),
    ],
)
def test_metrics_that_cannot_be_read_say_why(answer: tuple[int, bytes], why: str) -> None:
    said = heard((200, msgspec.json.encode(judge({}))), answer, 1.0)
    found = process_of(TARGET, said, [], 0.0)
    assert found.state is ProcessState.DEGRADED
    assert why in found.failing["metrics"]


async def test_processes_are_asked_and_the_token_is_for_the_given_ones_alone(tmp_path: Path) -> None:
    tokens: list[str | None] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers.get("authorization"))
        if request.path == "/metrics":
            response = web.StreamResponse()
            await response.prepare(request)
            # Metrics may come in pieces.
            for piece in (b"process_resident_mem", b"ory_bytes 10", b"24\n"):
                await response.write(piece)
                await asyncio.sleep(0.01)
            return response
        return web.json_response({"status": "ready", "checks": {}})

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    async with TestServer(app) as server:
        address = str(server.make_url(""))
        MetricsTarget(tmp_path, "cartstream-jobs", "host").set(address)
        told = OverviewSettings(metrics_targets=tmp_path, ops_targets_token="t")
        async with Processes(told) as processes:
            (jobs,) = await processes.look()
        assert (jobs.name, jobs.state, jobs.memory_bytes) == (
            "cartstream-jobs (host)",
            ProcessState.READY,
            1024,
        )
        assert set(tokens) == {None}
        tokens.clear()
        told = OverviewSettings(ops_targets=f"gateway={address}", ops_targets_token="t")
        async with Processes(told) as processes:
            await processes.look()
            assert list(processes.latest()) == ["gateway"]
        assert set(tokens) == {"Bearer t"}
        tokens.clear()
        both = OverviewSettings(
            metrics_targets=tmp_path, ops_targets=f"gateway={address}", ops_targets_token="t"
        )
        async with Processes(both) as processes:
            assert [process.name for process in await processes.look()] == ["gateway"]
        assert set(tokens) == {"Bearer t"}
    async with Processes(told) as processes:
        (gateway,) = await processes.look()
    assert gateway.state is ProcessState.SILENT
    assert "does not answer" in gateway.failing["metrics"]


def test_a_process_that_has_gone_stays_on_the_list(tmp_path: Path) -> None:
    (tmp_path / "foreign.json").write_text("{}")
    process = MetricsTarget(tmp_path, "cartstream-jobs", "host")
    process.set("http://127.0.0.1:9400")
    there = targets.known(targets.found(tmp_path), {})
    assert there == {
        "cartstream-jobs (host)": Target("cartstream-jobs (host)", "http://127.0.0.1:9400", is_given=False)
    }
    process.clear()
    gone = targets.known(targets.found(tmp_path), there)
    assert gone == {"cartstream-jobs (host)": Target("cartstream-jobs (host)", None, is_given=False)}


def test_two_processes_of_one_name_are_both_there() -> None:
    one, other = (Target("jobs", f"http://127.0.0.1:{port}", is_given=False) for port in (1, 2))
    assert list(targets.known([one, other], {})) == ["jobs", "jobs at http://127.0.0.1:2"]


def test_targets_have_names_or_are_called_by_their_address() -> None:
    named, plain = targets.given("gateway=http://10.0.0.5:8000/, http://10.0.0.7:9400")
    assert (named.name, named.address) == ("gateway", "http://10.0.0.5:8000")
    assert (plain.name, plain.address) == ("10.0.0.7:9400", "http://10.0.0.7:9400")
    (several,) = targets.given("gateway=dns+http://gateways:8000")
    assert (several.name, several.address, several.is_resolved) == ("gateway", "http://gateways:8000", True)
    for wrong in (
        "10.0.0.5:8000",
        "gateway=",
        "gateway=ftp://x",
        "a=http://:80",
        "a=http://b:c",
        "a=dns+https://b",
    ):
        with pytest.raises(ValueError, match="a right value is"):
            targets.given(wrong)


async def test_each_address_of_a_name_is_a_process_and_is_forgotten_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    answers: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert (host, port) == ("gateways", 8000)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(None, None, None, "", (address, port)) for address in answers]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    (several,) = targets.given("gateway=dns+http://gateways:8000")

    answers[:] = ["10.0.0.2", "10.0.0.1", "fd00::1", "10.0.0.1"]
    there = targets.known(await targets.resolved(several), {})
    assert {name: target.address for name, target in there.items()} == {
        "gateway (10.0.0.1)": "http://10.0.0.1:8000",
        "gateway (10.0.0.2)": "http://10.0.0.2:8000",
        "gateway (fd00::1)": "http://[fd00::1]:8000",
    }
    assert all(target.is_given for target in there.values())
    answers[:] = ["10.0.0.3"]
    there = targets.known(await targets.resolved(several), there)
    assert list(there) == ["gateway (10.0.0.3)"]
    answers.clear()
    assert targets.known(await targets.resolved(several), there) == {"gateway": several}


async def test_a_name_that_leads_nowhere_is_a_silent_process() -> None:
    async with Processes(
        OverviewSettings(ops_targets="gateway=dns+http://nowhere.invalid:8000")
    ) as processes:
        (gateway,) = await processes.look()
    assert (gateway.name, gateway.state) == ("gateway", ProcessState.SILENT)


async def test_processes_of_a_name_are_asked_by_their_addresses_and_what_they_said_is_forgotten_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        hosts.append(request.headers.get("Host"))
        return web.Response(text="process_resident_memory_bytes 1024\n")

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    async with TestServer(app, host="127.0.0.1") as server:
        told = OverviewSettings(ops_targets=f"gateway=dns+http://localhost:{server.port}")
        async with Processes(told) as processes:
            found = {process.name: process.state for process in await processes.look()}
            # Where localhost is ::1, too, nothing answers there.
            assert found["gateway (127.0.0.1)"] is ProcessState.READY
            assert set(hosts) == {f"127.0.0.1:{server.port}"}

            async def nowhere(_: Target) -> list[Target]:
                return []

            monkeypatch.setattr("ops.overview.processes.resolved", nowhere)
            assert await processes.look() == []
            assert processes.latest() == {}
