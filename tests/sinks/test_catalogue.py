"""The product cache follows `products`, fills itself again, and passes over what nobody can read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from runtime.settings import KafkaSettings
from store.redis import PipelinedClient
from store.redis.catalogue import CacheNotReady, ProductDeletion
from tests.sinks.catalogue_side import Owner, Shelf, last_records, new_product, running_follower
from tests.sinks.redis_side import Redis, settings_for
from tests.support.processes import sink_process
from tests.support.waiting import until
from topics.codec import decode_product, encode_product
from topics.headers import product_headers, product_version_header
from topics.partitioner import partition_of
from topics.registry import DEAD_LETTERS, PARTITIONS, PRODUCTS


@pytest.fixture
async def owner(kafka: KafkaSettings) -> AsyncIterator[Owner]:
    """Publishes products."""
    async with AIOKafkaProducer(**kafka.client_options(), acks="all", linger_ms=5) as producer:
        yield Owner(producer)


@pytest.fixture
async def shelf(kafka: KafkaSettings, redis_url: str) -> AsyncIterator[Shelf]:
    """An empty Redis."""
    settings = settings_for(kafka, redis_url)
    async with PipelinedClient(settings) as client:
        yield Shelf(settings, client)


async def test_what_the_owner_publishes_is_in_the_cache_and_never_an_older_version(
    owner: Owner, shelf: Shelf
) -> None:
    async with running_follower(shelf.settings):
        await shelf.complete()
        first = new_product(name="Linen shirt", stock=3)
        await owner.publish(first)
        await shelf.shows(first)
        newer = new_product(3, of=first.product_id, stock=2)
        last = new_product()
        await owner.publish(newer, new_product(2, of=first.product_id), last)
        await shelf.shows(last, newer)
        await owner.publish(ProductDeletion(first.product_id, 3))

        async def is_gone() -> bool:
            return await shelf.cache.read(first.product_id) is None

        await until(is_gone, "the product is gone")


@pytest.mark.parametrize("wipe", ["FLUSHALL", "catalogue"])
async def test_a_wiped_cache_fills_itself_again(owner: Owner, shelf: Shelf, wipe: str) -> None:
    products = [new_product(name=f"Red thing {number}") for number in range(200)]
    async with running_follower(shelf.settings):
        await owner.publish(*products)
        await shelf.shows(*products)
        if wipe == "FLUSHALL":
            await shelf.client.execute("FLUSHALL")
            assert await shelf.cache.read(products[0].product_id) == CacheNotReady()
        else:
            await shelf.wipe_products()
        await shelf.complete()
        await shelf.shows(*products)
        more = new_product()
        await owner.publish(more)
        await shelf.shows(more)


async def test_a_cache_that_fell_back_to_an_older_copy_reads_again_what_it_forgot(
    owner: Owner, shelf: Shelf
) -> None:
    redis = Redis(shelf.settings, shelf.client)
    product = new_product(1, stock=5)
    async with running_follower(shelf.settings):
        await owner.publish(product)
        await shelf.shows(product)
        older = await redis.snapshot()
        sold = new_product(2, of=product.product_id, stock=0)
        await owner.publish(sold)
        await shelf.shows(sold)
        await redis.roll_back(older)
        await shelf.shows(sold)


async def test_twenty_thousand_products_survive_kill_9_in_the_middle_of_filling(
    owner: Owner, shelf: Shelf, kafka: KafkaSettings, redis_url: str, tmp_path: Path
) -> None:
    products = [
        new_product(name=f"Thing {number}", description="quite a thing of its own", category=f"c{number % 9}")
        for number in range(20_000)
    ]
    for start in range(0, len(products), 2000):
        await owner.publish(*products[start : start + 2000])
    environment = {"CARTSTREAM_KAFKA_BOOTSTRAP": kafka.kafka_bootstrap, "CARTSTREAM_REDIS_URL": redis_url}
    process = sink_process("redis", environment, tmp_path)
    try:
        starting = asyncio.create_task(process.start())

        async def some() -> bool:
            count: int = await shelf.client.execute("HLEN", "{catalogue}:documents")
            return count > 2000

        await until(some, "some products are in")
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        process.kill()
        await process.start()
        await shelf.shows(*products)
        assert await process.stop() == 0
    finally:
        process.kill()
    page = await shelf.cache.page(q="thing own", category="c7", limit=50)
    assert not isinstance(page, CacheNotReady)
    assert len(page.products) == 50


async def test_two_followers_share_the_partitions_and_one_takes_over_from_the_other(
    owner: Owner, shelf: Shelf
) -> None:
    async with running_follower(shelf.settings):
        async with running_follower(shelf.settings):
            products = [new_product() for _ in range(500)]
            await owner.publish(*products)
            await shelf.shows(*products)
        newer = [new_product(2, of=product.product_id) for product in products]
        await owner.publish(*newer)
        await shelf.shows(*newer)


async def test_what_nobody_can_read_goes_to_the_dead_letters_and_the_rest_goes_on(
    owner: Owner, shelf: Shelf, kafka: KafkaSettings
) -> None:
    good, other, astray = new_product(), new_product(), new_product()
    key = good.product_id.encode()
    home = partition_of(key, PARTITIONS)
    elsewhere = (partition_of(astray.product_id.encode(), PARTITIONS) + 1) % PARTITIONS
    async with running_follower(shelf.settings):
        await owner.send(key, b'{"name": 1}', [("trace", b"7")], partition=home)
        await owner.send(key, encode_product(other), product_headers(other), partition=home)
        await owner.send(key, None, [], partition=home)
        await owner.send(
            astray.product_id.encode(), encode_product(astray), product_headers(astray), partition=elsewhere
        )
        await owner.publish(good, new_product())
        await shelf.shows(good)

        async def all_kept() -> bool:
            letters = await last_records(kafka, DEAD_LETTERS.name, [good.product_id, astray.product_id])
            return len(letters) == 2

        await until(all_kept, "both are in the dead letters")
    letters = await last_records(kafka, DEAD_LETTERS.name, [good.product_id, astray.product_id])
    said = dict(letters[astray.product_id].headers)
    assert said["dlq_error_code"] == b"wrong_partition"
    assert said["dlq_source_partition"] == b"%d" % elsewhere
    assert said["dlq_agent"] == b"cartstream-redis-products"
    assert letters[astray.product_id].value == encode_product(astray)
    assert dict(letters[good.product_id].headers)["dlq_error_code"] == b"bad_version"
    assert await shelf.cache.read(astray.product_id) is None


async def test_a_topic_whose_last_word_is_an_older_version_gets_the_newer_one_again(
    owner: Owner, shelf: Shelf, kafka: KafkaSettings
) -> None:
    async with running_follower(shelf.settings):
        newest = new_product(7, name="Newest")
        gone = new_product(4)
        await owner.publish(newest, gone, ProductDeletion(gone.product_id, 5))
        after = new_product()
        await owner.publish(after)
        await shelf.shows(after, newest)
        await owner.publish(new_product(6, of=newest.product_id), gone)

        async def healed() -> bool:
            last = await last_records(kafka, PRODUCTS.name, [newest.product_id, gone.product_id])
            versions = {key: product_version_header(record.headers) for key, record in last.items()}
            return versions == {newest.product_id: 7, gone.product_id: 5}

        await until(healed, "the newest versions are the last")
    last = await last_records(kafka, PRODUCTS.name, [newest.product_id, gone.product_id])
    assert decode_product(last[newest.product_id].value) == newest
    assert last[gone.product_id].value is None


async def test_a_topic_that_was_lost_takes_no_product_out_of_the_cache(owner: Owner, shelf: Shelf) -> None:
    product = new_product()
    async with running_follower(shelf.settings):
        await owner.publish(product)
        await shelf.shows(product)
        # As if the topic had been made anew: the cache has followed further than it reaches.
        positions = [f"!position:{partition}" for partition in range(PARTITIONS)]
        beyond = [value for name in positions for value in (name, 10**9)]
        await shelf.client.execute("HSET", "{catalogue}:facts", *beyond)

        async def reads_again() -> bool:
            found = await shelf.client.execute("HMGET", "{catalogue}:facts", *positions)
            return all(int(position) < 10**9 for position in found)

        await until(reads_again, "the topic is read from its beginning")
        await shelf.shows(product)
        newer = new_product(2, of=product.product_id)
        await owner.publish(newer)
        await shelf.shows(newer)
