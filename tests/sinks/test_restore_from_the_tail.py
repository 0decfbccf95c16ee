"""A lost partition of Redis opens after the tail of `carts`; the rows have the rest."""

from typing import Any

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr

from carts.protocol import Marker
from carts.state import Status
from runtime.settings import KafkaSettings
from sinks.errors import RestoreStartsOver
from sinks.redis.expired_copies import ExpiredCopies
from sinks.redis.rows import Rows
from store.postgres.session import Address
from store.redis import CartStore, Missing, StoredCart
from tests.sinks.cart_records import TopicWriter, add, cart_in, expire, grow
from tests.sinks.restore_fixtures import LAYOUT, NO_POSTGRES, Redis, running_agent
from tests.sinks.row_fixtures import LIFETIME, PARTITION, Table, break_row, restorer
from tests.support.copies import put_copies
from tests.support.waiting import until
from topics.groups import COMPACTION
from topics.registry import CART_CHANGED, PARTITIONS


async def marker(redis: Redis) -> Marker:
    return (await redis.store.markers())[PARTITION]


async def test_the_tail_is_put_and_the_rest_is_left_to_its_rows(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    old, recent, changed = (cart_in(PARTITION) for _ in range(3))
    await topics.states({old: grow(old, 2), changed: grow(changed, 1)})
    await table.write({old: grow(old, 2), changed: grow(changed, 1)})
    await table.stand_at(rows_position := await table.end())
    await topics.state(recent, grow(recent, 3))
    await topics.change(add(changed, 2))
    await restorer(redis, rows).restore(PARTITION)
    assert [await redis.n(cart_id) for cart_id in (old, recent, changed)] == [0, 3, 2]
    end = await table.end()
    found = await marker(redis)
    assert (found.rows_position, found.topic_id) == (rows_position, await table.topic_id())
    assert await redis.store.followed(PARTITION) == end
    assert await redis.store.cold(PARTITION) == end
    missing = await redis.store.read(old)
    assert isinstance(missing, Missing)
    assert missing.marker == found


async def test_changes_are_read_although_compaction_has_committed_past_their_end(
    kafka: KafkaSettings, redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    """As after a log that has lost its end: compaction begins anew, and has not folded them yet."""
    cart_id = cart_in(PARTITION)
    await topics.state(cart_id, grow(cart_id, 1))
    await table.stand_at(await table.end())
    await table.write({cart_id: grow(cart_id, 1)})
    await topics.change(add(cart_id, 2))
    place = TopicPartition(CART_CHANGED.name, PARTITION)
    async with AIOKafkaConsumer(
        **kafka.client_options(), group_id=COMPACTION, enable_auto_commit=False
    ) as consumer:
        consumer.assign([place])
        await consumer.commit({place: 1_000_000_000})
    await restorer(redis, rows).restore(PARTITION)
    assert await redis.n(cart_id) == 2
    await restorer(redis, rows).restore(PARTITION, whole=True)
    assert await redis.n(cart_id) == 2


async def test_the_higher_of_record_and_row_is_put(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    fell_behind, ahead, folded = (cart_in(PARTITION) for _ in range(3))
    await table.stand_at(await table.end())
    await topics.states({cart_id: grow(cart_id, 2) for cart_id in (fell_behind, ahead, folded)})
    await topics.change(add(folded, 4))
    await table.write({fell_behind: grow(fell_behind, 3), ahead: grow(ahead, 1), folded: grow(folded, 3)})
    await restorer(redis, rows).restore(PARTITION)
    assert [await redis.n(cart_id) for cart_id in (fell_behind, ahead, folded)] == [3, 2, 4]


async def test_a_second_attempt_begins_no_later_than_the_first(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    """What the first has put may be older than the rows are by then."""
    cart_id, others = cart_in(PARTITION), [cart_in(PARTITION) for _ in range(3)]
    await table.stand_at(await table.end())
    await topics.state(cart_id, grow(cart_id, 1))

    class Dies(CartStore):
        async def restore_finish(self, *_: Any, **__: Any) -> Any:
            raise RestoreStartsOver

    with pytest.raises(RestoreStartsOver):
        await restorer(redis, rows, Dies(redis.client, LAYOUT, lifetime=LIFETIME)).restore(PARTITION)
    assert await redis.n(cart_id) == 1
    await topics.states({cart_id: grow(cart_id, 2), **{other: grow(other, 1) for other in others}})
    await table.write({cart_id: grow(cart_id, 2)})
    await table.stand_at(rows_position := await table.end())
    await restorer(redis, rows).restore(PARTITION)
    assert await redis.n(cart_id) == 2
    assert (await marker(redis)).rows_position == rows_position


async def test_copies_without_a_marker_are_caught_up_from_where_redis_has_followed(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    cart_id = cart_in(PARTITION)
    await topics.state(cart_id, grow(cart_id, 1))
    await table.stand_at(await table.end())
    await restorer(redis, rows).restore(PARTITION)
    await put_copies(redis.store, PARTITION, [(cart_id, grow(cart_id, 1))])
    await topics.state(cart_id, grow(cart_id, 2))
    await table.write({cart_id: grow(cart_id, 2)})
    await table.stand_at(await table.end())
    await redis.client.execute("DEL", LAYOUT.of_partition(PARTITION).ready)
    await restorer(redis, rows).restore(PARTITION)
    assert await redis.n(cart_id) == 2


@pytest.mark.parametrize("why", ["no_postgres", "no_position", "other_topic", "beyond_end", "asked"])
async def test_all_of_carts_is_put_where_the_rows_cannot_be_relied_on(
    why: str, redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    cart_id = cart_in(PARTITION)
    await topics.state(cart_id, grow(cart_id, 2))
    end = await table.end()
    match why:
        case "no_postgres":
            rows = Rows(Address(NO_POSTGRES), LAYOUT)
        case "other_topic":
            await table.stand_at(end, "another")
        case "beyond_end":
            await table.stand_at(end + 1)
        case "asked":
            await table.stand_at(end)
    await restorer(redis, rows).restore(PARTITION, whole=why == "asked")
    assert await redis.n(cart_id) == 2
    assert (await marker(redis)).rows_position == 0
    assert await redis.store.cold(PARTITION) is None


async def test_a_connection_that_the_server_has_closed_makes_no_restoration_whole(database: str) -> None:
    rows = Rows(Address(database), LAYOUT)
    try:
        assert await rows.position(3) is None
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'cartstream-redis' AND datname = current_database()"
            )
        assert await rows.position(3) is None
    finally:
        await rows.close()


async def test_rows_that_go_back_meanwhile_begin_the_restoration_again(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    cart_id = cart_in(PARTITION)
    await table.stand_at(rows_position := await table.end())
    await topics.state(cart_id, grow(cart_id, 1))

    class GoBack(CartStore):
        async def restore_from(self, *arguments: Any) -> Any:
            await table.stand_at(rows_position - 1 if rows_position else 0, None if rows_position else "x")
            return await super().restore_from(*arguments)

    with pytest.raises(RestoreStartsOver):
        await restorer(redis, rows, GoBack(redis.client, LAYOUT, lifetime=LIFETIME)).restore(PARTITION)
    assert await redis.store.ready_partitions() == set()


async def test_an_expired_cart_is_a_copy_until_its_row_says_the_same(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    cart_id = cart_in(PARTITION)
    alive = grow(cart_id, 2)
    await topics.state(cart_id, alive)
    await table.write({cart_id: alive})
    await table.stand_at(await table.end())
    expired = expire(cart_id, alive)
    await topics.state(cart_id, expired)
    await restorer(redis, rows).restore(PARTITION)
    copy = await redis.store.read(cart_id)
    assert isinstance(copy, StoredCart)
    assert (copy.status, copy.view().lines) == (Status.EXPIRED, [])

    store = CartStore(redis.client, LAYOUT, lifetime=LIFETIME)
    copies = ExpiredCopies(store, rows, lambda: [PARTITION])
    age = LAYOUT.of_cart(cart_id).cart
    await redis.client.execute("EXPIRE", age, LIFETIME.idle_s - 3600)
    await copies.look()
    assert isinstance(await redis.store.read(cart_id), StoredCart), "its row is behind"
    await table.write({cart_id: expired})
    await table.stand_at(await table.end())
    await redis.client.execute("EXPIRE", age, LIFETIME.idle_s)
    await copies.look()
    assert isinstance(await redis.store.read(cart_id), StoredCart), "it was put just now"
    await redis.client.execute("EXPIRE", age, LIFETIME.idle_s - 3600)
    await copies.look()
    assert isinstance(await redis.store.read(cart_id), Missing)


async def test_rows_from_before_the_expiry_of_a_cart_stand_for_nothing_once_its_copy_has_gone(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows
) -> None:
    cart_id = cart_in(PARTITION)
    alive = grow(cart_id, 2)
    await topics.state(cart_id, alive)
    await table.write({cart_id: alive})
    await table.stand_at(before := await table.end())
    await topics.state(cart_id, expire(cart_id, alive))
    await restorer(redis, rows).restore(PARTITION)
    await table.stand_at(after := await table.end())
    store = CartStore(redis.client, LAYOUT, lifetime=LIFETIME)
    await redis.client.execute("EXPIRE", LAYOUT.of_cart(cart_id).cart, LIFETIME.idle_s - 3600)
    missed = await store.missing(PARTITION)
    await ExpiredCopies(store, rows, lambda: [PARTITION]).look()
    await table.stand_at(before)  # Postgres was put back, and has the cart as it was
    missing = await store.read(cart_id)
    assert isinstance(missing, Missing)
    assert isinstance(missed, Missing)
    found = (await rows.look_up([cart_id]))[cart_id]
    assert found.state == alive
    assert not missing.is_met_by(found)
    for each in (missed, missing):
        assert not await store.hydrate(cart_id, alive, each.found(found))
    await table.stand_at(after)
    assert missing.is_met_by((await rows.look_up([cart_id]))[cart_id])


async def test_a_partition_whose_tail_needs_a_row_that_cannot_be_read_is_restored_whole(
    redis: Redis, topics: TopicWriter, table: Table, rows: Rows, database: str
) -> None:
    old, changed = cart_in(PARTITION), cart_in(PARTITION)
    elsewhere = cart_in(PARTITION + 1)
    await topics.states({cart_id: grow(cart_id, 1) for cart_id in (old, changed, elsewhere)})
    await table.write({cart_id: grow(cart_id, 1) for cart_id in (old, changed, elsewhere)})
    for partition in (PARTITION, PARTITION + 1):
        await table.stand_at(await table.end(partition), partition=partition)
    await topics.change(add(changed, 2))
    await break_row(database, changed)

    for partition in (PARTITION, PARTITION + 1):
        await restorer(redis, rows).restore(partition)

    assert [await redis.n(cart_id) for cart_id in (old, changed)] == [1, 2]
    assert await redis.store.cold(PARTITION) is None
    # The others are left to their rows, which answer.
    assert await redis.n(elsewhere) == 0
    assert await redis.store.cold(PARTITION + 1) is not None


async def test_an_agent_opens_warms_and_follows(
    redis: Redis, topics: TopicWriter, table: Table, database: str
) -> None:
    carts = [cart_in(number % PARTITIONS) for number in range(40)]
    states = {cart_id: grow(cart_id, 2) for cart_id in carts}
    await topics.states(states)
    await table.write(states)
    for partition in range(PARTITIONS):
        await table.stand_at(await table.end(partition), partition=partition)
    settings = redis.settings.model_copy(update={"postgres_url": SecretStr(database)})
    async with running_agent(settings):
        await redis.wipe()

        async def is_warm() -> bool:
            return not any([await redis.store.cold(partition) for partition in range(PARTITIONS)])

        await until(is_warm, "warm")
        assert [await redis.n(cart_id) for cart_id in carts] == [2] * len(carts)
        await topics.states({cart_id: grow(cart_id, 3) for cart_id in carts})

        async def has_followed() -> bool:
            return [await redis.n(cart_id) for cart_id in carts] == [3] * len(carts)

        await until(has_followed, "followed")
