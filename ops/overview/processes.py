"""Asks all known processes how they are, and keeps what they have said of the last minute."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import chain
from typing import Final, Self

import aiohttp
import msgspec

from ops.overview.samples import Samples, Span, quantile, timings
from ops.overview.settings import OverviewSettings
from ops.overview.targets import Target, found, given, known, resolved
from runtime.health import Health, Readiness

KEPT_S: Final = 60.0
_REQUEST_SECONDS: Final = "cartstream_gateway_request_seconds"
_PROBES: Final = ("GET /health/", "GET /metrics")
_TIMEOUT: Final = aiohttp.ClientTimeout(total=2)
_LARGEST_BYTES: Final = 16 * 1024 * 1024


class ProcessState(StrEnum):
    """How a process is, as far as one hears of it."""

    READY = "ready"
    DEGRADED = "degraded"
    NOT_READY = "not_ready"
    SILENT = "silent"
    """It does not answer."""
    GONE = "gone"
    """It was there, and has ended as it was told."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `failing`: what is wrong, by check. `cpu` is a share of one CPU; None is not known.

    `requests_p99_ms`: of what a gateway has answered in the last minute, its probes left out.
    """

    name: str
    address: str | None
    state: ProcessState
    failing: dict[str, str]
    memory_bytes: int | None = None
    cpu: float | None = None
    up_s: float | None = None
    requests_p99_ms: float | None = None


class Heard(msgspec.Struct, frozen=True):
    """What one process has answered; None: nothing that can be read."""

    readiness: Readiness | None
    samples: Samples | None
    problem: str = ""


class Processes:
    """All known processes; use as an async context manager."""

    def __init__(self, settings: OverviewSettings) -> None:
        self._given: Final = given(settings.ops_targets)
        self._folder: Final = settings.metrics_targets
        token = settings.ops_targets_token
        self._headers: Final = (
            {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
        )
        self._targets: dict[str, Target] = {}
        self._kept: Final[dict[str, deque[Samples]]] = {}
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def look(self) -> list[Process]:
        """Ask all of them at once."""
        named = list(chain(*await asyncio.gather(*map(resolved, self._given))))
        addresses = {target.address for target in named}
        others = [target for target in found(self._folder) if target.address not in addresses]
        self._targets = known([*named, *others], self._targets)
        for name in self._kept.keys() - self._targets.keys():
            del self._kept[name]
        targets = list(self._targets.values())
        answers = await asyncio.gather(*(self._ask(target) for target in targets))
        return [self._keep(target, heard) for target, heard in zip(targets, answers, strict=True)]

    def spans(self, seconds: float) -> list[Span]:
        """What each process has said last, and so many seconds before, or first if that is less."""
        return [span_of(list(samples), seconds) for samples in self._kept.values() if samples]

    def latest(self) -> dict[str, Samples]:
        """What each process has said last, by its name; without those that are silent."""
        return {name: samples[-1] for name, samples in self._kept.items() if samples}

    def _keep(self, target: Target, heard: Heard) -> Process:
        kept = self._kept.setdefault(target.name, deque())
        if heard.samples is None:
            kept.clear()
        else:
            kept.append(heard.samples)
        while len(kept) > 1 and kept[1].at_s < kept[-1].at_s - KEPT_S:
            kept.popleft()
        return process_of(target, heard, list(kept), time.time())

    async def _ask(self, target: Target) -> Heard:
        if target.address is None:
            return Heard(None, None)
        headers = self._headers if target.is_given else {}
        try:
            ready, metrics = await asyncio.gather(
                self._get(f"{target.address}/health/ready", headers),
                self._get(f"{target.address}/metrics", headers),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Heard(None, None, f"{target.address} does not answer ({error or type(error).__name__})")
        return heard(ready, metrics, time.monotonic())

    async def _get(self, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
        async with self._session.get(url, headers=headers, allow_redirects=False) as response:
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > _LARGEST_BYTES:
                    raise aiohttp.ClientPayloadError(f"more than {_LARGEST_BYTES} bytes")
            return response.status, bytes(body)


def span_of(samples: Sequence[Samples], seconds: float) -> Span:
    """From the newest sample that is so many seconds old, or else the first one, to the last. Pure."""
    last = samples[-1]
    first = next((each for each in reversed(samples) if each.at_s <= last.at_s - seconds), samples[0])
    return Span(first, last)


def heard(ready: tuple[int, bytes], metrics: tuple[int, bytes], at_s: float) -> Heard:
    """What the statuses and bodies of both answers say. Pure."""
    status, body = metrics
    problem, samples = "", None
    if status in {401, 403}:
        problem = "it shows its metrics to services only: set CARTSTREAM_OPS_TARGETS_TOKEN"
    elif status != 200:  # noqa: PLR2004  a status of HTTP
        problem = f"it answers /metrics with {status}"
    else:
        try:
            samples = Samples(body.decode(), at_s)
        except ValueError:
            problem = "what it answers at /metrics are no metrics"
    return Heard(_readiness(ready[1]), samples, problem)


def _readiness(body: bytes) -> Readiness | None:
    try:
        document = msgspec.json.decode(body)
        # In a problem (RFC 9457) `status` is a number; and a gateway shows its checks to services only.
        status = document.get("readiness", document["status"])
        return msgspec.convert({"status": status, "checks": document.get("checks", {})}, Readiness)
    except (msgspec.MsgspecError, AttributeError, KeyError):
        return None


def process_of(target: Target, said: Heard, kept: list[Samples], now_s: float) -> Process:
    """How a process is, at `now_s` (Unix time). Pure."""
    failing = {
        name: check.detail or check.status.value
        for name, check in (said.readiness.checks if said.readiness else {}).items()
        if check.status is not Health.OK
    }
    if said.problem:
        failing["metrics"] = said.problem
    last = kept[-1] if kept else None
    began = last and last.total("process_start_time_seconds")
    memory = last and last.total("process_resident_memory_bytes")
    return Process(
        name=target.name,
        address=target.address,
        state=_state(target, said),
        failing=failing,
        memory_bytes=int(memory) if memory else None,
        cpu=_cpu(kept),
        up_s=max(0.0, now_s - began) if began else None,
        requests_p99_ms=_requests_p99_ms(kept),
    )


def _state(target: Target, said: Heard) -> ProcessState:
    if target.address is None:
        return ProcessState.GONE
    if said.readiness is None:
        return ProcessState.SILENT if said.samples is None else ProcessState.READY
    if not said.readiness.ready:
        return ProcessState.NOT_READY
    is_whole = said.readiness.status == "ready" and not said.problem
    return ProcessState.READY if is_whole else ProcessState.DEGRADED


def _cpu(kept: Iterable[Samples]) -> float | None:
    samples = [each for each in kept if each.series("process_cpu_seconds_total")]
    if len(samples) < 2:  # noqa: PLR2004  a rate needs two
        return None
    span = Span(samples[0], samples[-1])
    return round(sum(span.increases("process_cpu_seconds_total").values()) / span.seconds, 3)


def _requests_p99_ms(kept: Sequence[Samples]) -> float | None:
    if not kept:
        return None
    sums: defaultdict[float, float] = defaultdict(float)
    for (_, labels), buckets in timings([span_of(kept, KEPT_S)], _REQUEST_SECONDS).items():
        if not dict(labels).get("route", "").startswith(_PROBES):
            for bound, count in buckets.items():
                sums[bound] += count
    found = quantile(0.99, sums)
    return None if found is None else round(1000 * found, 1)
