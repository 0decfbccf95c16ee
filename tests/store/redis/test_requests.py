"""What the store answers to one request: attempts, replays, refusals, times."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from carts.lifetime import MARGIN_S, Lifetime
from carts.limits import Timing
from carts.operations import Add, Change, Clear, Item, Remove, Set, SetMetadata
from carts.state import State
from store.redis import (
    Applied,
    ChangeRequest,
    Missing,
    Reason,
    Refused,
    Replayed,
    RequestStep,
    Restoring,
    SetQuantity,
    StoreBroken,
    StoredCart,
)
from tests.store.redis.conftest import ABSENCE, StoreFixture
from tests.store.redis.copies import assert_redis_holds

CART = "user:1"
SOCKS = Add("sock", 2, 500, "EUR", Item("sock"))


def request(*steps: RequestStep, **options: Any) -> ChangeRequest:
    """A request that is born now, unless told otherwise."""
    defaults: dict[str, Any] = {
        "cart_id": CART,
        "op_id": f"op-{time.monotonic_ns()}",
        "fingerprint": "f0",
        "steps": steps or (SOCKS,),
        "first_seen_us": time.time_ns() // 1000,
        "absence": ABSENCE if options.pop("absent_ok", True) else None,
    }
    return ChangeRequest(**{**defaults, **options})


async def applied(fixture: StoreFixture, *steps: RequestStep, **options: Any) -> Applied:
    """The answer to a request that must be applied."""
    answer = await fixture.store.change(request(*steps, **options))
    assert isinstance(answer, Applied), answer
    return answer


async def refused(fixture: StoreFixture, *steps: RequestStep, **options: Any) -> Refused:
    """The answer to a request that must be refused, and change nothing."""
    before = await fixture.everything()
    answer = await fixture.store.change(request(*steps, **options))
    assert isinstance(answer, Refused), answer
    assert await fixture.everything() == before
    return answer


async def test_a_write_never_starts_from_nothing_unless_the_caller_has_looked(fixture: StoreFixture) -> None:
    assert (await refused(fixture, absent_ok=False)).reason is Reason.UNKNOWN_CART
    await applied(fixture)
    await applied(fixture, absent_ok=False)


async def test_a_partition_without_its_marker_neither_reads_nor_writes(fixture: StoreFixture) -> None:
    await applied(fixture)
    await fixture.client.execute("DEL", fixture.layout.of_partition(fixture.layout.partition(CART)).ready)
    assert (await refused(fixture)).reason is Reason.RESTORING
    assert isinstance(await fixture.store.read(CART), Restoring)
    assert not await fixture.store.hydrate("user:1", State(born=2), ABSENCE)


async def test_a_request_first_sent_before_the_retry_horizon_is_refused(fixture: StoreFixture) -> None:
    horizon_us = Timing().retry_horizon_us
    late = time.time_ns() // 1000 - horizon_us
    assert (await refused(fixture, first_seen_us=late)).reason is Reason.TOO_OLD
    await applied(fixture, first_seen_us=late + 60_000_000)


async def test_a_cart_never_written_is_missing(fixture: StoreFixture) -> None:
    assert isinstance(await fixture.store.read(CART), Missing)


async def test_concurrent_adds_are_all_applied_under_versions_of_their_own(fixture: StoreFixture) -> None:
    one = Add("sock", 1, 500, "EUR", Item("sock"))
    answers = await asyncio.gather(
        *(fixture.store.change(request(one, op_id=f"op-{number}")) for number in range(200))
    )
    assert all(isinstance(answer, Applied) for answer in answers)
    shown = {answer.version.tag(): answer.cart.view() for answer in answers}  # type: ignore[union-attr]
    assert len(shown) == 200
    assert all(view.version == tag for tag, view in shown.items())
    assert sorted(view.lines[0].quantity for view in shown.values()) == list(range(1, 201))


async def test_a_replay_returns_the_entry_that_still_waits_in_the_outbox(fixture: StoreFixture) -> None:
    first = await applied(fixture, op_id="once")
    again = await fixture.store.change(request(op_id="once", absent_ok=False))
    assert isinstance(again, Replayed)
    assert again.entry is not None
    assert (again.operation_version, again.entry.id, again.entry.event) == (
        first.operation_version,
        first.entry.id,
        first.entry.event,
    )
    assert await fixture.store.outbox_remove(first.partition, [(first.entry.id, "once")]) == 1
    again = await fixture.store.change(request(op_id="once"))
    assert isinstance(again, Replayed)
    assert (again.operation_version, again.version, again.entry) == (
        first.operation_version,
        first.version,
        None,
    )


async def test_a_reused_key_is_refused_whatever_the_fingerprint_looks_like(fixture: StoreFixture) -> None:
    await applied(fixture, op_id='a"b\\', fingerprint="abc")
    for fingerprint in ("", "ab", "abcd", "xyz"):
        assert (await refused(fixture, op_id='a"b\\', fingerprint=fingerprint)).reason is Reason.KEY_REUSED
    assert isinstance(await fixture.store.change(request(op_id='a"b\\', fingerprint="abc")), Replayed)


async def test_who_only_asks_for_a_replay_changes_nothing(fixture: StoreFixture) -> None:
    assert (await refused(fixture, op_id="once", replay_only=True)).reason is Reason.NOT_APPLIED
    unknown = await refused(fixture, op_id="once", replay_only=True, absent_ok=False)
    assert unknown.reason is Reason.UNKNOWN_CART
    first = await applied(fixture, op_id="once")
    before = await fixture.everything()
    again = await fixture.store.change(
        request(op_id="once", replay_only=True, if_match=("1-1-000000000000",))
    )
    assert isinstance(again, Replayed)
    assert (again.operation_version, again.entry) == (first.operation_version, first.entry)
    assert await fixture.everything() == before
    reused = await refused(fixture, op_id="once", fingerprint="f1", replay_only=True)
    assert reused.reason is Reason.KEY_REUSED
    assert (await refused(fixture, op_id="other", replay_only=True)).reason is Reason.NOT_APPLIED


async def test_operation_ids_are_not_patterns(fixture: StoreFixture) -> None:
    for op_id in ("%d+", "^.*$", "a%"):
        await applied(fixture, op_id=op_id)
        assert isinstance(await fixture.store.change(request(op_id=op_id)), Replayed)


async def test_if_match_takes_one_tag_several_or_any(fixture: StoreFixture) -> None:
    assert (await refused(fixture, if_match=("*",))).tag == "0-0-000000000000"
    answer = await applied(fixture, if_match=("0-0-000000000000",))
    tag = answer.version.tag()
    for good in ("{tag}", "*", "1-1-000000000000 {tag}"):
        tag = (await applied(fixture, if_match=tuple(good.format(tag=tag).split()))).version.tag()
    for bad in ("1-1-000000000000", tag[:-1], f"{tag}0", "", "%d+-%d+-%x+"):
        refusal = await refused(fixture, if_match=tuple(bad.split()))
        assert (refusal.reason, refusal.tag) == (Reason.PRECONDITION_FAILED, tag)


async def test_a_set_takes_what_it_lacks_from_the_line(fixture: StoreFixture) -> None:
    item = Item("shoe", {"size": "42"})
    await applied(fixture, Add("shoe~1", 1, 9900, "EUR", item, {"gift": True}))
    answer = await applied(
        fixture, SetQuantity("shoe~1", 3), SetQuantity("shoe~1", 4, unit_price=100, metadata={})
    )
    change = msgspec.json.decode(answer.entry.event, type=Change)
    assert change.delta == (
        Set("shoe~1", 3, 9900, "EUR", item),
        Set("shoe~1", 4, 100, "EUR", item, {}),
    )


@pytest.mark.parametrize("step", [SetQuantity("sock", 1), SetMetadata({"a": 1}, "sock")])
async def test_a_line_that_is_not_there_cannot_be_changed(fixture: StoreFixture, step: RequestStep) -> None:
    await applied(fixture)
    await applied(fixture, Remove("sock"))
    refusal = await refused(fixture, Add("hat", 1, 1, "EUR", Item("hat")), step)
    assert (refusal.reason, refusal.step) == (Reason.LINE_NOT_FOUND, 1)


async def test_a_clear_keeps_the_metadata_of_the_cart_and_its_time_to_live(fixture: StoreFixture) -> None:
    await applied(fixture, SOCKS, SetMetadata({"note": "é"}))
    answer = await applied(fixture, Clear(), minimal=True)
    assert answer.cart is None
    cart = await fixture.store.read(CART)
    assert isinstance(cart, StoredCart)
    assert cart.view().metadata == {"note": "é"}
    assert cart.view().lines == []
    keys = fixture.layout.of_cart(CART)
    for key in (keys.cart, keys.ops, keys.win):
        assert 7 * 86_400 - 60 < await fixture.client.execute("TTL", key) <= 7 * 86_400


async def test_a_change_renews_the_time_to_live_of_all_keys_of_a_cart(fixture: StoreFixture) -> None:
    await applied(fixture)
    keys = fixture.layout.of_cart(CART)
    (m,) = await fixture.client.execute("HMGET", keys.cart, "m")
    yesterday = int(m.split(b" ")[0]) - 2 * 86_400_000_000
    await fixture.client.execute(
        "HSET", keys.cart, "m", b" ".join([str(yesterday).encode(), *m.split(b" ")[1:]])
    )
    for key in (keys.cart, keys.ops, keys.win):
        await fixture.client.execute("EXPIRE", key, 60)
    await applied(fixture)
    for key in (keys.cart, keys.ops, keys.win):
        assert await fixture.client.execute("TTL", key) > 60


async def test_a_full_outbox_refuses_writes_while_reads_go_on(fixture: StoreFixture) -> None:
    store = fixture.store_with(outbox_max_bytes=1000)
    answers = [await store.change(request()) for _ in range(6)]
    accepted = [answer for answer in answers if isinstance(answer, Applied)]
    assert answers[len(accepted) :] == [Refused(reason=Reason.OUTBOX_FULL)] * (6 - len(accepted))
    assert 0 < len(accepted) < 6
    assert isinstance(await store.read(CART), StoredCart)
    for entry in await store.outbox_read(accepted[0].partition):
        await store.outbox_remove(accepted[0].partition, [(entry.id, entry.op_id)])
    assert isinstance(await store.change(request()), Applied)


async def test_a_server_without_memory_refuses_writes_up_front_while_reads_and_removals_go_on(
    fixture: StoreFixture,
) -> None:
    first = await applied(fixture)
    await fixture.everywhere("CONFIG", "SET", "maxmemory", 1)
    try:
        assert (await refused(fixture)).reason is Reason.STORAGE_FULL
        assert isinstance(await fixture.store.read(CART), StoredCart)
        (entry,) = await fixture.store.outbox_read(first.partition)
        assert await fixture.store.outbox_remove(first.partition, [(entry.id, entry.op_id)]) == 1
        assert await fixture.store.acquire_sweeper(0, "me", 1000)
    finally:
        await fixture.everywhere("CONFIG", "SET", "maxmemory", 0)


async def test_a_copy_that_may_have_been_deleted_elsewhere_counts_as_absent(fixture: StoreFixture) -> None:
    first = await applied(fixture, SOCKS, SetMetadata({"old": 1}), op_id="old")
    store = fixture.store_with(lifetime=Lifetime(idle_s=60, retention_s=MARGIN_S - 60))
    assert isinstance(await store.read(CART), Missing)
    unknown = await store.change(request(absent_ok=False))
    assert isinstance(unknown, Refused)
    assert unknown.reason is Reason.UNKNOWN_CART
    born = await store.change(request(op_id="old"))
    assert isinstance(born, Applied)
    assert (
        born.version.operation_count,
        msgspec.json.decode(born.entry.event, type=Change).previous_version,
    ) == (
        1,
        first.operation_version,
    )
    assert born.operation_version > first.operation_version
    cart = await fixture.store.read(CART)
    assert isinstance(cart, StoredCart)
    assert (cart.view().lines[0].quantity, cart.view().metadata) == (2, {})
    state = State(born=2)
    assert await store.hydrate(CART, state, ABSENCE)
    await assert_redis_holds(fixture, CART, state)


async def test_a_birth_names_the_old_copy_that_its_writer_knew_of(fixture: StoreFixture) -> None:
    born = await applied(fixture, forgotten_version=42)
    again = await applied(fixture, forgotten_version=42)
    assert msgspec.json.decode(born.entry.event, type=Change).previous_version == 42
    assert msgspec.json.decode(again.entry.event, type=Change).previous_version == born.operation_version


async def test_what_is_left_of_an_expired_cart_does_not_answer_for_a_new_one(fixture: StoreFixture) -> None:
    await applied(fixture, op_id="before")
    await fixture.client.execute("DEL", fixture.layout.of_cart(CART).cart)
    assert (await applied(fixture, op_id="before")).version.operation_count == 1


async def test_a_key_of_a_wrong_type_is_an_error_that_no_retry_mends(fixture: StoreFixture) -> None:
    await fixture.client.execute("SET", fixture.layout.of_cart(CART).cart, "what?")
    with pytest.raises(StoreBroken, match="WRONGTYPE") as raised:
        await fixture.store.change(request())
    assert not raised.value.retriable


async def test_a_cart_of_all_the_lines_allowed_reads_back(fixture: StoreFixture) -> None:
    for at in range(0, 500, 100):
        steps = [Add(f"p{n}", 999, 2**20, "EUR", Item(f"p{n}", {"n": str(n)})) for n in range(at, at + 100)]
        answer = await applied(fixture, *steps)
    assert answer.cart is not None
    view = answer.cart.view()
    assert [line.line_id for line in view.lines] == [f"p{n}" for n in range(500)]
    assert (len(view.lines), view.totals.subtotal) == (500, 500 * 999 * 2**20)
    assert answer.cart.json() == msgspec.json.encode(view)
    refusal = await refused(fixture, Add("one-more", 1, 1, "EUR", Item("one-more")))
    assert (refusal.limit, refusal.step, refusal.bound) == ("lines", 0, 500)
    await applied(fixture, Clear(), Add("p0", 1, 1, "USD", Item("p0")))


async def test_a_subtotal_beyond_exact_numbers_is_refused(fixture: StoreFixture) -> None:
    steps = [Add(f"p{n}", 999, 2**40 - 1, "EUR", Item(f"p{n}")) for n in range(10)]
    refusal = await refused(fixture, *steps)
    assert (refusal.limit, refusal.step, refusal.bound) == ("subtotal", 8, 2**53 - 1)
    await applied(fixture, *steps[:8])
