"""Rate limits without a server: quotas, what gateways tell each other, whose address counts, headers."""

import asyncio
import math
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.names import Sharing
from gateway.identity.principal import ANONYMOUS, OPEN, Kind, Principal
from gateway.metrics import Metrics
from gateway.rates.limiter import RateLimiter
from gateway.rates.policy import Policy, Taken, take
from gateway.rates.service import Rates, rate_headers
from gateway.rates.settings import RateSettings
from gateway.server.addresses import Addresses
from gateway.server.early import answer_to
from gateway.server.heads import parse_head
from store.redis import StoreUnavailable
from tests.gateway.served_app import StandingLimiter

MINUTE = Policy("test", quota=60, window_s=60)
PUBLIC = "203.0.113.7"


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


class Everything:
    """What all gateways know, as the script of Redis keeps it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.over_at: dict[str, float] = defaultdict(float)
        self.is_away = False
        self.asked = 0

    async def add(self, _: str, subject: str, taken_s: float, window_s: float) -> float:
        """What the script does."""
        self.asked += 1
        if self.is_away:
            raise StoreUnavailable("away")
        backlog = max(0.0, self.over_at[subject] - self.clock.now) + taken_s
        backlog = min(backlog, 2 * window_s)
        self.over_at[subject] = self.clock.now + backlog
        return backlog


@given(quota=st.integers(1, 500), waits=st.lists(st.floats(0, 5), max_size=300))
def test_no_window_has_more_than_two_quotas_and_a_patient_subject_is_never_refused(
    quota: int, waits: list[float]
) -> None:
    policy, now, over_at, allowed = Policy("test", quota, 60), 0.0, 0.0, []
    for wait in waits:
        now += wait
        taken = take(policy, max(0.0, over_at - now), 1)
        if taken.is_allowed:
            over_at = now + taken.backlog_s
            allowed.append(now)
        else:
            assert taken.left == 0
            assert take(policy, max(0.0, taken.backlog_s - taken.again_s), 1).is_allowed
    # As with each limit by rate and burst: a whole quota at once, and what is given back meanwhile.
    assert all(sum(start <= at < start + 60 for at in allowed) <= 2 * quota for start in allowed)


def test_a_whole_quota_may_be_taken_at_once_and_then_one_unit_in_each_interval() -> None:
    backlog = 0.0
    lefts = []
    for _ in range(60):
        taken = take(MINUTE, backlog, 1)
        assert taken.is_allowed
        lefts.append(taken.left)
        backlog = taken.backlog_s
    assert lefts == list(range(59, -1, -1))
    refused = take(MINUTE, backlog, 1)
    assert (refused.is_allowed, refused.more_in_s) == (False, 1)
    assert refused.again_s == pytest.approx(1)
    assert take(MINUTE, backlog - 1, 1).is_allowed


@given(quota=st.integers(1, 5000), window_s=st.integers(1, 3600), backlog=st.floats(0, 2))
def test_the_headers_tell_when_more_is_there_and_no_retry_is_asked_for_before(
    quota: int, window_s: int, backlog: float
) -> None:
    policy = Policy("test", quota, window_s)
    now = Taken(policy, is_allowed=False, backlog_s=backlog * window_s, units=1)
    later = Taken(policy, is_allowed=True, backlog_s=max(0.0, now.backlog_s - now.more_in_s), units=1)
    assert (later.left > now.left) == (now.left < quota)
    if now.left == 0:
        assert now.more_in_s == max(1, math.ceil(now.again_s - 1e-6))


def test_the_headers_tell_of_each_policy() -> None:
    other = Policy("other", 5, 60)
    headers = rate_headers([take(MINUTE, 0, 1), Taken(other, is_allowed=False, backlog_s=60.2, units=1)])
    assert headers == {
        "ratelimit-policy": '"test";q=60;w=60, "other";q=5;w=60',
        "ratelimit": '"test";r=59;t=1, "other";r=0;t=13',
    }


async def test_two_gateways_allow_little_more_than_one() -> None:
    clock = Clock()
    shared = Everything(clock)
    gateways = [RateLimiter(MINUTE, shared, clock) for _ in range(2)]
    allowed = 0
    for turn in range(200):
        allowed += gateways[turn % 2].take("somebody").is_allowed
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert 60 <= allowed <= 60 + 2 * MINUTE.shared_units


async def test_who_takes_little_never_gets_to_redis() -> None:
    clock = Clock()
    shared = Everything(clock)
    limiter = RateLimiter(MINUTE, shared, clock)
    for subject in range(1000):
        for _ in range(MINUTE.shared_units - 1):
            assert limiter.take(str(subject)).is_allowed
    await asyncio.sleep(0)
    assert not shared.asked


async def test_without_redis_each_gateway_goes_on_by_itself_and_leaves_it_alone() -> None:
    clock = Clock()
    shared = Everything(clock)
    shared.is_away = True
    limiter = RateLimiter(MINUTE, shared, clock)
    allowed = []
    for _ in range(100):
        allowed.append(limiter.take("somebody").is_allowed)
        await asyncio.sleep(0)
    assert allowed == [True] * 60 + [False] * 40
    assert shared.asked == 1
    shared.is_away = False
    clock.now += 2
    assert limiter.take("somebody").is_allowed
    await asyncio.sleep(0)
    assert shared.over_at["somebody"] > clock.now


async def test_a_redis_that_does_not_answer_keeps_nobody_waiting() -> None:
    class Slow:
        async def add(self, *_: object) -> float:
            await asyncio.Event().wait()
            return 0

    limiter = RateLimiter(MINUTE, Slow(), Clock())
    assert [limiter.take("somebody").is_allowed for _ in range(61)] == [True] * 60 + [False]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (PUBLIC, [], PUBLIC),
        (PUBLIC, ["198.51.100.1"], PUBLIC),
        ("10.0.0.1", [], None),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8:1:2:3::4]:4711"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["2001:db8:1:2:3::4"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["198.51.100.1, unknown"], None),
        ("10.0.0.1", [", ".join(["198.51.100.1", *["10.0.0.2"] * 8])], None),
        ("", [], ""),
    ],
)
def test_a_proxy_is_believed_and_nobody_else(peer: str, forwarded: list[str], client: str | None) -> None:
    addresses = Addresses.behind("10.0.0.0/8, 127.0.0.0/8")
    headers = [("host", "x"), *(("x-forwarded-for", value) for value in forwarded)]
    assert addresses.client_of(peer, headers) == client


async def test_an_address_has_a_quota_and_probes_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.rates.service.RateLimiter", StandingLimiter)
    settings = RateSettings(rate_per_address=2)
    rates = Rates(settings, Addresses([]), Everything(Clock()), Metrics())
    probe, read = (parse_head(b"GET %b HTTP/1.1\r\nHost: x" % path) for path in (b"/health/live", b"/v1/x"))
    assert rates.of_address(PUBLIC, probe) is None
    found = [rates.of_address(PUBLIC, read) for _ in range(3)]
    assert [taken and taken.is_allowed for taken in found] == [True, True, False]
    refused = found[-1]
    assert refused is not None
    problem = rates.refused(refused)
    response = answer_to(read, problem, rate_headers([refused]), Sharing(()), keep_alive=True)
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    for line in (b'ratelimit: "address";r=0;t=30', b"retry-after: 30", b"connection: keep-alive"):
        assert line in head.split(b"\r\n")
    assert b'"violated-policies":["address"]' in body
    assert b"content-length: %d" % len(body) in head


@pytest.mark.parametrize("caller", [ANONYMOUS, OPEN, Principal(Kind.SHOPPER, actor="user:42")])
def test_without_a_quota_nothing_is_counted(caller: Principal) -> None:
    rates = Rates(RateSettings(rate_of_mints=0), Addresses([]), Everything(Clock()), Metrics())
    request: object = object()
    rates.check_caller(request, caller)  # type: ignore[arg-type]
    rates.check_mint(request, caller)  # type: ignore[arg-type]
    rates.check_product(request, caller)  # type: ignore[arg-type]
    assert rates.charge_products(caller, 1_000_000) == 0


async def test_an_import_is_told_how_long_to_wait_for_what_it_has_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.rates.service.RateLimiter", StandingLimiter)
    rates = Rates(RateSettings(rate_of_products=600), Addresses([]), Everything(Clock()), Metrics())
    service = Principal(Kind.SERVICE, actor="service:shop for user:42")
    assert rates.charge_products(service, 600) == 0
    assert rates.charge_products(service, 100) == pytest.approx(10, abs=0.5)
