"""Changes of carts as a subscriber hears of them, on real servers; and tickets."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

import store.redis.scripts
from carts.operations import Add, Item
from carts.state import State
from store.redis import Applied, ChangeRequest, ChangeSubscriber, RedisSettings, Tickets
from tests.gateway.rows import born
from tests.store.redis.conftest import ABSENCE, StoreFixture
from tests.store.redis.test_subtraction import now_us
from tests.support.copies import put_copies
from tests.support.waiting import until

NAME = "listening"
SCRIPTS = Path(store.redis.scripts.__file__).parent


class Heard:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.partitions: list[int] = []
        self.times_deaf = 0

    def changed(self, cart_id: str, tag: str) -> None:
        """A change (ChangeListener)."""
        self.changes.append((cart_id, tag))

    def hearing(self, partition: int) -> None:
        """A subscription (ChangeListener)."""
        self.partitions.append(partition)

    def has_subscriptions(self, count: int) -> bool:
        """Whether there have been so many."""
        return len(self.partitions) == count

    def deaf(self) -> None:
        """An outage (ChangeListener)."""
        self.times_deaf += 1


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def subscriber(fixture: StoreFixture, server_url: str, heard: Heard) -> AsyncIterator[ChangeSubscriber]:
    """Started, and told by nobody yet which partition to follow."""
    settings = RedisSettings(redis_url=server_url, redis_timeout_s=20, redis_connect_timeout_s=20)
    found = ChangeSubscriber(settings, fixture.layout, name=NAME, patience_s=30)
    found.start(heard)
    yield found
    await found.close()


async def add(fixture: StoreFixture, cart_id: str, op_id: str) -> str:
    """Add a piece; the version tag."""
    request = ChangeRequest(
        cart_id=cart_id,
        op_id=op_id,
        fingerprint="f",
        steps=(Add("sock", 1, 100, "EUR", Item("sock")),),
        first_seen_us=now_us(),
        absence=ABSENCE,
    )
    outcome = await fixture.store.change(request)
    assert isinstance(outcome, Applied)
    return outcome.version.tag()


async def test_every_way_in_which_a_cart_changes_is_heard(
    fixture: StoreFixture, subscriber: ChangeSubscriber, heard: Heard
) -> None:
    cart_id = "user:two words"
    partition = fixture.layout.partition(cart_id)
    subscriber.follow(partition)
    await until(lambda: heard.partitions == [partition], "subscribed")
    tags = [await add(fixture, cart_id, "op-1"), await add(fixture, cart_id, "op-2")]
    state: State = born(other := cart_of(fixture, partition, "put"), 2 * now_us())
    await put_copies(fixture.store, partition, [(other, state)])
    late = born(third := cart_of(fixture, partition, "hydrated"), 2 * now_us())
    await fixture.store.hydrate(third, late, ABSENCE)
    expected = [(cart_id, tag) for tag in tags] + [(other, state.version.tag()), (third, late.version.tag())]
    await until(lambda: heard.changes == expected, "all four")
    await fixture.make_ready(partition)
    await until(lambda: heard.partitions == [partition] * 3, "a restoration's begin and end")


async def test_only_partitions_that_are_followed_are_heard(
    fixture: StoreFixture, subscriber: ChangeSubscriber, heard: Heard
) -> None:
    for partition in (3, 4):
        subscriber.follow(partition)
    subscriber.leave(4)
    await until(lambda: 3 in heard.partitions, "subscribed")
    for partition in (4, 5, 3):
        await add(fixture, cart_of(fixture, partition, "a"), "op")
    await until(lambda: heard.changes, "a change")
    assert [fixture.layout.partition(cart_id) for cart_id, _ in heard.changes] == [3]


async def test_after_a_lost_connection_the_followed_partitions_are_told_again(
    fixture: StoreFixture, subscriber: ChangeSubscriber, heard: Heard
) -> None:
    for partition in (1, 2):
        subscriber.follow(partition)
    for told in (2, 4, 6):
        await until(partial(heard.has_subscriptions, told), "subscribed")
        for node in fixture.client.nodes:
            clients = (await node.execute("CLIENT", "LIST")).decode().splitlines()
            for ours in [line for line in clients if f"name={NAME} " in line]:
                await node.execute("CLIENT", "KILL", "ID", ours.split()[0].removeprefix("id="))
    await until(partial(heard.has_subscriptions, 8), "subscribed once more")
    assert sorted(heard.partitions) == [1] * 4 + [2] * 4
    assert heard.times_deaf == 0


async def test_without_a_server_the_listener_is_told_once_its_patience_is_over(
    fixture: StoreFixture, heard: Heard
) -> None:
    nowhere = RedisSettings(redis_url="redis://127.0.0.1:1/0")
    subscriber = ChangeSubscriber(nowhere, fixture.layout, name=NAME, patience_s=0.1)
    subscriber.start(heard)
    subscriber.follow(1)
    await until(lambda: subscriber.is_deaf, "deaf")
    await subscriber.close()
    assert (heard.times_deaf, heard.partitions) == (1, [])


def test_every_script_that_writes_a_cart_publishes_it() -> None:
    writing = [
        script for script in SCRIPTS.glob("[a-z]*.lua") if "--@include write_copy" in script.read_text()
    ]
    assert writing
    assert [script.name for script in writing if "'SPUBLISH'" not in script.read_text()] == []


async def test_a_ticket_is_taken_once_however_many_try(fixture: StoreFixture) -> None:
    tickets = Tickets(fixture.client, 30)
    issued = await tickets.issue("user:two words")
    taken = await asyncio.gather(*(tickets.take(issued.ticket) for _ in range(10)))
    assert sorted(map(str, taken)) == ["None"] * 9 + ["user:two words"]
    assert await fixture.keys("ticket:*") == []


def cart_of(fixture: StoreFixture, partition: int, name: str) -> str:
    """A cart id of that partition."""
    ids = (f"user:{name}-{number}" for number in range(10_000))
    return next(cart_id for cart_id in ids if fixture.layout.partition(cart_id) == partition)
