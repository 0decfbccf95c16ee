"""The change script and carts.fold are the same thing: random histories leave the same cart in Redis."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carts.fold import fold
from carts.limits import Limits, Timing
from carts.operations import Change
from carts.state import State
from store.redis import Applied, ChangeRequest, Reason, Refused, Replayed, RequestStep
from tests.store.redis.conftest import ABSENCE, StoreFixture
from tests.store.redis.copies import assert_redis_holds
from tests.store.redis.histories import deltas, fingerprint, refusal

CART = "user:of-the-test"
SMALL = Limits(lines=3, tracked_lines=4, quantity=9, content_bytes=900, window_entries=6, window_bytes=4000)

matches = st.sampled_from([None, None, None, "current", "*", "stale", "list"])
requests = st.tuples(st.integers(0, 12), deltas, matches)
histories = st.lists(requests, min_size=4, max_size=14)
windows = st.sampled_from([0, 1, 700, 5_000, 30_000, 20 * 60 * 1_000_000])

property_test = settings(
    max_examples=settings().max_examples // 2,  # each of them asks Redis for every step
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
    ],
)


class History:
    """Plays requests against Redis and, event by event, against the fold."""

    def __init__(self, fixture: StoreFixture, limits: Limits, timing: Timing) -> None:
        self.fixture = fixture
        self.limits = limits
        self.timing = timing
        self.store = fixture.store_with(limits, timing)
        self.state: State | None = None
        self.events: dict[str, bytes] = {}

    async def play(self, number: int, delta: tuple[RequestStep, ...], match: str | None) -> None:
        """One request; Redis must answer and hold what the functions say."""
        request = ChangeRequest(
            cart_id=CART,
            op_id=f'op-"{number}"\\',
            fingerprint=fingerprint(delta),
            steps=delta,
            first_seen_us=time.time_ns() // 1000,
            if_match=self._tags(match),
            absence=ABSENCE,
            actor="shopper é" if number % 2 else None,
            cause="test" if number % 3 else None,
        )
        before = await self.fixture.everything()
        answer = await self.store.change(request)
        match answer:
            case Applied():
                await self._applied(request, answer)
            case Replayed():
                assert before == await self.fixture.everything()
                self._replayed(request, answer)
            case Refused():
                assert before == await self.fixture.everything()
                self._refused(request, match, answer)

    def _tags(self, match: str | None) -> tuple[str, ...] | None:
        if match is None:
            return None
        tag = "0-0-000000000000" if self.state is None else self.state.version.tag()
        stale = "1-1-000000000000"
        return {"current": (tag,), "stale": (stale,), "list": (stale, tag)}.get(match, (match,))

    async def _applied(self, request: ChangeRequest, answer: Applied) -> None:
        change = msgspec.json.decode(answer.entry.event, type=Change)
        assert answer.entry.event == msgspec.json.encode(change)
        assert (change.cart_id, change.op_id, change.fingerprint) == (
            CART,
            request.op_id,
            request.fingerprint,
        )
        assert (change.actor, change.cause) == (request.actor, request.cause)
        assert change.previous_version == (0 if self.state is None else self.state.version_number)
        assert change.version == answer.operation_version > change.previous_version
        assert change.delta == refusal(self.state, request.steps, self.limits)
        assert all(op.op_id != request.op_id for op in (self.state.ops if self.state else ()))
        self.state = fold(self.state, change, timing=self.timing).state
        assert self.state is not None
        assert change.born == self.state.born
        assert answer.version == self.state.version
        assert answer.cart is not None
        assert answer.cart.content() == self.state.content()
        self.events[request.op_id] = answer.entry.event
        (entry,) = await self.store.outbox_read(answer.partition, _before(answer.entry.id), 1)
        assert (entry.id, entry.op_id, entry.cart_id) == (answer.entry.id, request.op_id, CART)
        assert (entry.event, entry.version) == (answer.entry.event, answer.operation_version)
        await assert_redis_holds(self.fixture, CART, self.state)

    def _replayed(self, request: ChangeRequest, answer: Replayed) -> None:
        assert self.state is not None
        (known,) = (op for op in self.state.ops if op.op_id == request.op_id)
        assert (answer.operation_version, known.fingerprint) == (known.version, request.fingerprint)
        assert answer.version == self.state.version
        assert answer.entry is not None
        assert answer.entry.event == self.events[request.op_id]

    def _refused(self, request: ChangeRequest, match: str | None, answer: Refused) -> None:
        known = {op.op_id: op.fingerprint for op in (self.state.ops if self.state else ())}
        if request.op_id in known:
            assert answer.reason is Reason.KEY_REUSED
            assert known[request.op_id] != request.fingerprint
            return
        if match == "stale" or (match == "*" and self.state is None):
            assert answer.reason is Reason.PRECONDITION_FAILED
            assert answer.tag == ("0-0-000000000000" if self.state is None else self.state.version.tag())
            return
        expected = refusal(self.state, request.steps, self.limits)
        if answer.reason is Reason.WINDOW_FULL:
            assert self.state is not None
            entries = len(self.state.ops) + 1
            size = sum(len(msgspec.json.encode(op)) for op in self.state.ops)
            assert entries > self.limits.window_entries or size > self.limits.window_bytes - 2500
            assert answer.retry_after_us is not None
            return
        assert (answer.reason, answer.step, answer.limit) == expected


def _before(outbox_id: str) -> str:
    milliseconds, _, sequence = outbox_id.partition("-")
    return f"{milliseconds}-{int(sequence) - 1}" if int(sequence) else f"{int(milliseconds) - 1}-{2**63}"


@property_test
@given(history=histories, window=windows)
def test_the_script_and_the_fold_make_the_same_cart(
    on_empty_server: Callable[[Any], None], history: list[Any], window: int
) -> None:
    async def play(fixture: StoreFixture) -> None:
        played = History(fixture, Limits(), Timing(window_us=window))
        for number, delta, match in history:
            await played.play(number, delta, match)

    on_empty_server(play)


@property_test
@given(history=histories, window=windows)
def test_limits_refuse_and_change_nothing(
    on_empty_server: Callable[[Any], None], history: list[Any], window: int
) -> None:
    async def play(fixture: StoreFixture) -> None:
        played = History(fixture, SMALL, Timing(window_us=window))
        for number, delta, match in history:
            await played.play(number, delta, match)

    on_empty_server(play)
