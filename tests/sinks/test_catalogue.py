"""The product cache follows `products`, fills itself again, and passes over what nobody can read."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from carts.products import Product
from runtime.kafka.ranges import Tail
from runtime.settings import KafkaSettings
from sinks.redis import metrics
from sinks.redis.products import BATCH, CatalogueFollower, Place
from store.redis import PipelinedClient, StoreUnavailable
from store.redis.catalogue import CacheNotReady, ProductDeletion
from tests.sinks.product_fixtures import (
    CacheView,
    ProductPublisher,
    last_records,
    new_product,
    running_follower,
)
from tests.sinks.restore_fixtures import Redis, settings_for
from tests.support.memory import BEYOND, filled
from tests.support.processes import sink_process
from tests.support.waiting import until
from topics.codec import decode_product, encode_product
from topics.groups import CATALOGUE_SINK
from topics.headers import product_headers, product_version_header
from topics.names import IN_REDIS
from topics.partitioner import partition_of
from topics.registry import DEAD_LETTERS, PARTITIONS, PRODUCTS


@pytest.fixture
async def publisher(kafka: KafkaSettings) -> AsyncIterator[ProductPublisher]:
    """Publishes products."""
    async with AIOKafkaProducer(**kafka.client_options(), acks="all", linger_ms=5) as producer:
        yield ProductPublisher(producer)


@pytest.fixture
async def cache_view(kafka: KafkaSettings, redis_url: str) -> AsyncIterator[CacheView]:
    """An empty Redis."""
    settings = settings_for(kafka, redis_url)
    async with PipelinedClient(settings) as client:
        yield CacheView(settings, client)


def neighbour(product: Product) -> Product:
    """Another product of the same partition."""
    while True:
        found = new_product()
        if partition_of(found.product_id.encode(), PARTITIONS) == partition_of(
            product.product_id.encode(), PARTITIONS
        ):
            return found


async def test_what_the_owner_publishes_is_in_the_cache_and_never_an_older_version(
    publisher: ProductPublisher, cache_view: CacheView
) -> None:
    async with running_follower(cache_view.settings):
        await cache_view.complete()
        first = new_product(name="Linen shirt", stock=3)
        await publisher.publish(first)
        await cache_view.shows(first)
        newer = new_product(3, of=first.product_id, stock=2)
        last = new_product()
        await publisher.publish(newer, new_product(2, of=first.product_id), last)
        await cache_view.shows(last, newer)
        await publisher.publish(ProductDeletion(first.product_id, 3))

        async def is_gone() -> bool:
            return await cache_view.cache.read(first.product_id) is None

        await until(is_gone, "the product is gone")


async def test_in_a_full_redis_prices_go_on_and_a_partition_with_a_new_product_stands_still(
    publisher: ProductPublisher, cache_view: CacheView
) -> None:
    old = new_product()
    partition = partition_of(old.product_id.encode(), PARTITIONS)
    async with running_follower(cache_view.settings):
        await publisher.publish(old)
        await cache_view.shows(old)
        with filled(cache_view.settings.redis_url, BEYOND):

            async def is_known() -> bool:
                return bool(metrics.WAITS_FOR_ROOM.labels("products")._value.get())  # noqa: SLF001

            cheaper = new_product(2, of=old.product_id, unit_price=99)
            grown = new_product(3, of=old.product_id, description="long " * 100)
            elsewhere = new_product()
            await publisher.publish(cheaper, grown, elsewhere)
            await until(is_known, "the follower waits for room")
            await cache_view.shows(cheaper)
            # Not between the cheaper one, after which nothing stands still, and the next.
            await until(lambda: cache_view.cache.standing_since_us(PARTITIONS), "the next one waits")
            position = (await cache_view.cache.positions(PARTITIONS))[partition]
            await publisher.publish(new_product(4, of=old.product_id, unit_price=98))
            await until(lambda: cache_view.cache.standing_since_us(PARTITIONS), "it stands still")
            assert (await cache_view.cache.positions(PARTITIONS))[partition] == position
        await cache_view.shows(new_product(4, of=old.product_id, unit_price=98))
        await cache_view.shows(elsewhere)

        async def follows() -> bool:
            return await cache_view.cache.standing_since_us(PARTITIONS) is None

        await until(follows, "every partition follows")


@pytest.mark.parametrize("wipe", ["FLUSHALL", "catalogue"])
async def test_a_wiped_cache_fills_itself_again(
    publisher: ProductPublisher, cache_view: CacheView, wipe: str
) -> None:
    products = [new_product(name=f"Red thing {number}") for number in range(200)]
    async with running_follower(cache_view.settings):
        await publisher.publish(*products)
        await cache_view.shows(*products)
        if wipe == "FLUSHALL":
            await cache_view.client.execute("FLUSHALL")
            assert await cache_view.cache.read(products[0].product_id) == CacheNotReady()
        else:
            await cache_view.wipe_products()
        await cache_view.complete()
        await cache_view.shows(*products)
        more = new_product()
        await publisher.publish(more)
        await cache_view.shows(more)


async def test_a_cache_that_fell_back_to_an_older_copy_reads_again_what_it_forgot(
    publisher: ProductPublisher, cache_view: CacheView
) -> None:
    redis = Redis(cache_view.settings, cache_view.client)
    product = new_product(1, stock=5)
    async with running_follower(cache_view.settings):
        await publisher.publish(product)
        await cache_view.shows(product)
        older = await redis.snapshot()
        sold = new_product(2, of=product.product_id, stock=0)
        await publisher.publish(sold)
        await cache_view.shows(sold)
        await redis.roll_back(older)
        await cache_view.shows(sold)


async def test_a_cache_that_falls_back_while_a_newer_version_is_published_again_lacks_nothing_of_the_batch(
    publisher: ProductPublisher, cache_view: CacheView, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = Redis(cache_view.settings, cache_view.client)
    newest = new_product(2)
    beside = neighbour(newest)
    async with running_follower(cache_view.settings) as follower:
        await publisher.publish(newest)
        await cache_view.shows(newest)
        older = await redis.snapshot()
        publish_again = follower._publish_again  # noqa: SLF001

        async def falls_back(partition: int, current: Sequence[Product | ProductDeletion]) -> None:
            await publish_again(partition, current)
            await redis.roll_back(older)

        monkeypatch.setattr(follower, "_publish_again", falls_back)
        await publisher.publish(new_product(1, of=newest.product_id), beside)
        await cache_view.shows(newest, beside)


async def test_records_do_not_move_a_place_that_was_found_after_they_were_read(
    cache_view: CacheView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis falls back while the records of one partition are on their way, and those of another fail."""
    products = [new_product()]
    products += [neighbour(products[0]) for _ in range(BATCH)]
    partition = partition_of(products[0].product_id.encode(), PARTITIONS)
    failing = (partition + 1) % PARTITIONS

    def read(number: int, at: int, product: Product) -> ConsumerRecord:
        key, value = product.product_id.encode(), encode_product(product)
        return ConsumerRecord(PRODUCTS.name, number, at, 0, 0, key, value, None, 0, 0, ())

    follower = CatalogueFollower(cache_view.settings, cache_view.client)
    follower._generation = (await cache_view.cache.follow(PARTITIONS)).generation  # noqa: SLF001
    understood, tail = follower._understood, cast(Tail, None)  # noqa: SLF001

    async def falls_back(record: ConsumerRecord) -> Product | ProductDeletion | None:
        if record.partition == failing:
            raise StoreUnavailable("Redis is away")
        if record.offset == 100:
            follower._places[partition] = Place(None, 200, tail)  # noqa: SLF001
        return await understood(record)

    monkeypatch.setattr(follower, "_understood", falls_back)
    for number in (partition, failing):
        follower._places[number] = Place(100, 200, tail)  # noqa: SLF001
    with pytest.raises(StoreUnavailable):
        await follower._follow_all(  # noqa: SLF001
            {
                TopicPartition(PRODUCTS.name, failing): [read(failing, 100, products[0])],
                TopicPartition(PRODUCTS.name, partition): [
                    read(partition, 100 + number, product) for number, product in enumerate(products)
                ],
            }
        )
    assert (await cache_view.cache.follow(PARTITIONS)).positions == {}


async def test_twenty_thousand_products_survive_kill_9_in_the_middle_of_filling(
    publisher: ProductPublisher, cache_view: CacheView, kafka: KafkaSettings, redis_url: str, tmp_path: Path
) -> None:
    products = [
        new_product(name=f"Thing {number}", description="quite a thing of its own", category=f"c{number % 9}")
        for number in range(20_000)
    ]
    for start in range(0, len(products), 2000):
        await publisher.publish(*products[start : start + 2000])
    environment = {"CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap, "CARTSTREAM_REDIS_URL": redis_url}
    process = sink_process("redis", environment, tmp_path)
    try:
        starting = asyncio.create_task(process.start())

        async def some() -> bool:
            count: int = await cache_view.client.execute("HLEN", f"{IN_REDIS}{{catalogue}}:documents")
            return count > 2000

        await until(some, "some products are in")
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        process.kill()
        await process.start()
        await cache_view.shows(*products)
        assert await process.stop() == 0
    finally:
        process.kill()
    page = await cache_view.cache.page(q="thing own", category="c7", limit=50)
    assert not isinstance(page, CacheNotReady)
    assert len(page.products) == 50


async def test_two_followers_share_the_partitions_and_one_takes_over_from_the_other(
    publisher: ProductPublisher, cache_view: CacheView
) -> None:
    async with running_follower(cache_view.settings):
        async with running_follower(cache_view.settings):
            products = [new_product() for _ in range(500)]
            await publisher.publish(*products)
            await cache_view.shows(*products)
        newer = [new_product(2, of=product.product_id) for product in products]
        await publisher.publish(*newer)
        await cache_view.shows(*newer)


async def test_what_nobody_can_read_goes_to_the_dead_letters_and_the_rest_goes_on(
    publisher: ProductPublisher, cache_view: CacheView, kafka: KafkaSettings
) -> None:
    good, other, astray = new_product(), new_product(), new_product()
    key = good.product_id.encode()
    home = partition_of(key, PARTITIONS)
    elsewhere = (partition_of(astray.product_id.encode(), PARTITIONS) + 1) % PARTITIONS
    async with running_follower(cache_view.settings):
        await publisher.send(key, b'{"name": 1}', [("trace", b"7")], partition=home)
        await publisher.send(key, encode_product(other), product_headers(other), partition=home)
        await publisher.send(key, None, [], partition=home)
        await publisher.send(
            astray.product_id.encode(), encode_product(astray), product_headers(astray), partition=elsewhere
        )
        await publisher.publish(good, new_product())
        await cache_view.shows(good)

        async def all_kept() -> bool:
            letters = await last_records(kafka, DEAD_LETTERS.name, [good.product_id, astray.product_id])
            return len(letters) == 2

        await until(all_kept, "both are in the dead letters")
    letters = await last_records(kafka, DEAD_LETTERS.name, [good.product_id, astray.product_id])
    said = dict(letters[astray.product_id].headers)
    assert said["dlq_error_code"] == b"wrong_partition"
    assert said["dlq_source_partition"] == b"%d" % elsewhere
    assert said["dlq_agent"] == CATALOGUE_SINK.encode()
    assert letters[astray.product_id].value == encode_product(astray)
    assert dict(letters[good.product_id].headers)["dlq_error_code"] == b"bad_version"
    assert await cache_view.cache.read(astray.product_id) is None


async def test_a_topic_whose_last_word_is_an_older_version_gets_the_newer_one_again(
    publisher: ProductPublisher, cache_view: CacheView, kafka: KafkaSettings
) -> None:
    async with running_follower(cache_view.settings):
        newest = new_product(7, name="Newest")
        gone = new_product(4)
        await publisher.publish(newest, gone, ProductDeletion(gone.product_id, 5))
        after = new_product()
        await publisher.publish(after)
        await cache_view.shows(after, newest)
        await publisher.publish(new_product(6, of=newest.product_id), gone)

        async def healed() -> bool:
            last = await last_records(kafka, PRODUCTS.name, [newest.product_id, gone.product_id])
            versions = {key: product_version_header(record.headers) for key, record in last.items()}
            return versions == {newest.product_id: 7, gone.product_id: 5}

        await until(healed, "the newest versions are the last")
    last = await last_records(kafka, PRODUCTS.name, [newest.product_id, gone.product_id])
    assert decode_product(last[newest.product_id].value) == newest
    assert last[gone.product_id].value is None


async def test_a_topic_that_was_lost_takes_no_product_out_of_the_cache(
    publisher: ProductPublisher, cache_view: CacheView
) -> None:
    product = new_product()
    async with running_follower(cache_view.settings):
        await publisher.publish(product)
        await cache_view.shows(product)
        # As if the topic had been made anew: the cache has followed further than it reaches.
        positions = [f"!position:{partition}" for partition in range(PARTITIONS)]
        beyond = [value for name in positions for value in (name, 10**9)]
        await cache_view.client.execute("HSET", f"{IN_REDIS}{{catalogue}}:facts", *beyond)

        async def reads_again() -> bool:
            found = await cache_view.client.execute("HMGET", f"{IN_REDIS}{{catalogue}}:facts", *positions)
            return all(int(position) < 10**9 for position in found)

        await until(reads_again, "the topic is read from its beginning")
        await cache_view.shows(product)
        newer = new_product(2, of=product.product_id)
        await publisher.publish(newer)
        await cache_view.shows(newer)
