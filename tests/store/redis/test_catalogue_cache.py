"""The product cache on real servers: newer versions only, positions, reading, listing, searching."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from carts.errors import InvalidIdentifier
from carts.products import Facts, Product, facts_of
from store.redis import PipelinedClient, PositionMoved, RedisSettings
from store.redis.catalogue import (
    CacheLost,
    CacheNotReady,
    Following,
    NoRoom,
    Page,
    ProductCache,
    ProductDeletion,
    ProductsPut,
    Regressed,
)
from topics.names import IN_REDIS

AT = datetime(2025, 11, 25, 9, 0, tzinfo=UTC)
PARTITIONS = 2


def product(product_id: str, version: int = 1, **fields: Any) -> Product:
    given = {"name": f"Product {product_id}", "unit_price": 100, "currency": "EUR", **fields}
    return Product(product_id=product_id, version=version, updated_at=AT, **given)


class Filled:
    """A cache with a follower of its own, which puts batches into partition 0."""

    def __init__(self, client: PipelinedClient) -> None:
        self.client = client
        self.cache = ProductCache(client)
        self.following = Following("", {}, complete=False)

    async def keys(self) -> set[bytes]:
        """All there are."""
        return {key for found in await self.client.ask_each("KEYS", "*") for key in found}

    async def begin(self) -> None:
        """Take up the cache as it is."""
        self.following = await self.cache.follow(PARTITIONS)

    async def put(
        self, *changes: Product | ProductDeletion, partition: int = 0, at_end: bool = True
    ) -> ProductsPut | Regressed | PositionMoved | CacheLost | NoRoom:
        """Put the next stretch of the partition; the position rises by one a record."""
        expected = self.following.positions.get(partition)
        position = (expected or 0) + len(changes)
        outcome = await self.cache.put(
            partition,
            self.following.generation,
            expected,
            position,
            changes,
            partitions=PARTITIONS,
            at_end=at_end,
        )
        if isinstance(outcome, ProductsPut):
            self.following.positions[partition] = position
        return outcome

    async def complete(self) -> None:
        """Follow every partition to its end."""
        for partition in range(PARTITIONS):
            assert isinstance(await self.put(partition=partition), ProductsPut)

    async def ids(self, **wanted: Any) -> list[str]:
        """The ids of all pages."""
        found: list[str] = []
        page = await self.page(**wanted)
        while True:
            found += [one.product_id for one in page.products]
            if page.next_cursor is None:
                return found
            page = await self.page(**wanted, cursor=page.next_cursor)

    async def page(self, **wanted: Any) -> Page:
        """A page of the complete cache."""
        page = await self.cache.page(**wanted)
        assert isinstance(page, Page)
        return page


@pytest.fixture
async def filled(server_url: str) -> AsyncIterator[Filled]:
    """An empty, complete cache on an empty server."""
    async with PipelinedClient(RedisSettings(redis_url=server_url, redis_timeout_s=20)) as client:
        await client.ask_each("FLUSHALL")
        filled = Filled(client)
        await filled.begin()
        await filled.complete()
        yield filled


SHIRT = product(
    "shirt-1",
    version=5,
    name="Linen Shirt",
    description="Light, für warme Tage",
    category="Clothing",
    unit_price=3999,
    stock=12,
    attributes={"sizes": ["S"]},
)


async def test_a_product_is_read_as_it_was_put(filled: Filled) -> None:
    assert await filled.put(SHIRT) == ProductsPut(1, 0)
    assert await filled.cache.read("shirt-1") == SHIRT
    assert await filled.cache.read("shirt-2") is None


async def test_one_request_tells_the_facts_of_several_products(filled: Filled) -> None:
    voucher = product(
        "voucher", name="Gift card for you", stock=None, active=False, image_url="https://shop.example/card"
    )
    mug = product("mug", image_url="/mug.png", attributes={"options": {"size": ["S", "M"]}})
    pen = product("pen", attributes={"options": {"ink": ["blue"]}})
    await filled.put(SHIRT, voucher, mug, pen)
    found = await filled.cache.facts(["mug", "pen"])
    assert found == {"mug": facts_of(mug), "pen": facts_of(pen)}
    assert await filled.cache.facts(["voucher", "shirt-1", "nothing", "shirt-1"]) == {
        "voucher": Facts(
            1, 100, "EUR", None, active=False, name="Gift card for you", image_url="https://shop.example/card"
        ),
        "shirt-1": Facts(5, 3999, "EUR", 12, active=True, name="Linen Shirt"),
        "nothing": None,
    }


async def test_no_product_is_called_unknown_before_every_partition_is_read(server_url: str) -> None:
    async with PipelinedClient(RedisSettings(redis_url=server_url, redis_timeout_s=20)) as client:
        await client.ask_each("FLUSHALL")
        filled = Filled(client)
        assert await filled.cache.read("shirt-1") == CacheNotReady()
        await filled.begin()
        await filled.put(SHIRT, at_end=True)
        await filled.put(product("a"), partition=1, at_end=False)
        assert await filled.cache.facts(["shirt-1"]) == CacheNotReady()
        assert await filled.cache.page() == CacheNotReady()
        assert not (await filled.cache.follow(PARTITIONS)).complete
        await filled.put(partition=1)
        assert await filled.cache.read("shirt-1") == SHIRT
        assert (await filled.cache.follow(PARTITIONS)) == Following(
            filled.following.generation, {0: 1, 1: 1}, complete=True
        )


async def test_the_same_record_again_changes_nothing(filled: Filled) -> None:
    await filled.put(SHIRT)
    assert await filled.put(SHIRT) == ProductsPut(0, 1)


async def test_an_older_version_changes_nothing_and_does_not_let_the_position_pass(filled: Filled) -> None:
    await filled.put(SHIRT)
    older = product("shirt-1", 4, name="Old", unit_price=1)
    assert await filled.put(older, product("mug", 1)) == Regressed([SHIRT])
    assert await filled.cache.read("shirt-1") == SHIRT
    assert await filled.cache.read("mug") == product("mug", 1)
    assert (await filled.cache.follow(PARTITIONS)).positions == filled.following.positions
    assert await filled.put() == ProductsPut(0, 0)  # once the current version is in the topic again


async def test_an_older_version_that_a_newer_one_follows_is_passed_over(filled: Filled) -> None:
    newest = product("shirt-1", 6)
    assert await filled.put(SHIRT, product("shirt-1", 4), newest) == ProductsPut(2, 0)
    assert await filled.cache.read("shirt-1") == newest


async def test_versions_are_compared_as_numbers(filled: Filled) -> None:
    largest = 2**53 - 1
    await filled.put(product("a", 9))
    assert await filled.put(product("a", 10)) == ProductsPut(1, 0)
    await filled.put(product("a", largest - 1))
    assert await filled.put(product("a", largest)) == ProductsPut(1, 0)
    assert await filled.put(product("a", largest - 1)) == Regressed([product("a", largest)])


async def test_a_deletion_takes_away_what_it_knew_of(filled: Filled) -> None:
    await filled.put(SHIRT, product("mug", 8))
    await filled.put(ProductDeletion("shirt-1", 5))
    assert await filled.put(ProductDeletion("mug", 7)) == Regressed([product("mug", 8)])
    assert await filled.cache.read("shirt-1") is None
    assert await filled.cache.facts(["shirt-1"]) == {"shirt-1": None}
    assert await filled.ids() == ["mug"]
    assert await filled.put(SHIRT) == ProductsPut(0, 1)
    assert await filled.put(product("shirt-1", 4)) == Regressed([ProductDeletion("shirt-1", 5)])
    assert await filled.put(product("shirt-1", 6)) == ProductsPut(1, 0)
    assert await filled.ids() == ["mug", "shirt-1"]


async def test_nothing_is_put_from_a_position_that_is_not_the_caches(filled: Filled) -> None:
    await filled.put(SHIRT)
    stale = await filled.cache.put(
        0,
        filled.following.generation,
        0,
        7,
        [product("late")],
        partitions=PARTITIONS,
        at_end=False,
    )
    assert stale == PositionMoved(1)
    assert await filled.cache.read("late") is None


@pytest.mark.parametrize("key", ["facts", "documents", "texts", "ids", "words"])
async def test_a_cache_that_has_lost_a_part_begins_anew(filled: Filled, key: str) -> None:
    await filled.put(SHIRT)
    await filled.client.execute("DEL", f"{IN_REDIS}{{catalogue}}:{key}")
    assert await filled.put(product("mug")) == CacheLost()
    again = await filled.cache.follow(PARTITIONS)
    assert again.generation != filled.following.generation
    assert (again.positions, again.complete) == ({}, False)
    assert await filled.cache.read("shirt-1") == CacheNotReady()
    assert await filled.put(product("mug")) == CacheLost()  # somebody who still fills the old one


async def test_two_who_find_it_lost_begin_one_generation(filled: Filled) -> None:
    await filled.client.ask_each("FLUSHALL")
    first = await filled.cache.follow(PARTITIONS)
    assert await filled.cache.follow(PARTITIONS) == first


async def test_pages_follow_the_ids_and_stay_right_while_products_come_and_go(filled: Filled) -> None:
    await filled.put(*(product(f"p{number:03}") for number in range(0, 100, 2)))
    first = await filled.page(limit=10)
    assert [one.product_id for one in first.products] == [f"p{number:03}" for number in range(0, 20, 2)]
    await filled.put(
        product("p001"),  # behind: not seen
        product("p021"),  # ahead: seen
        ProductDeletion("p018", 9),  # the cursor's own
        product("p020", 2, active=False),
    )
    second = await filled.page(limit=10, cursor=first.next_cursor)
    assert [one.product_id for one in second.products][:3] == ["p021", "p022", "p024"]
    rest = await filled.ids(limit=7)
    assert rest == sorted({*(f"p{n:03}" for n in range(0, 100, 2)), "p001", "p021"} - {"p018", "p020"})


async def test_the_last_page_says_so(filled: Filled) -> None:
    await filled.put(*(product(f"p{number}") for number in range(4)))
    assert (await filled.page(limit=4)).next_cursor is None
    assert (await filled.page(limit=3)).next_cursor == "p2"
    assert await filled.page(limit=3, cursor="p3") == Page([], None)


async def test_a_cursor_that_no_page_gave_is_refused(filled: Filled) -> None:
    with pytest.raises(InvalidIdentifier):
        await filled.cache.page(cursor="!")


CLOTHES: Sequence[Product] = (
    SHIRT,
    product("shirt-2", name="Cotton shirt", category="Clothing"),
    product("shirt-3", name="T-Shirt", description="Cotton, Größe M", category="Sports"),
    product("short-1", name="Shorts", description="Linen", category="Clothing"),
    product("mug-1", name="Café mug", category="Kitchen"),
    product("old-1", name="Cotton shirt", category="Clothing", active=False),
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["mug-1", "shirt-1", "shirt-2", "shirt-3", "short-1"]),
        ({"category": "Clothing"}, ["shirt-1", "shirt-2", "short-1"]),
        ({"category": "Clothing\n"}, []),
        ({"q": "shirt"}, ["shirt-1", "shirt-2", "shirt-3"]),
        ({"q": "SHIRT cotton"}, ["shirt-2", "shirt-3"]),
        ({"q": "cotton sh"}, ["shirt-2", "shirt-3"]),
        ({"q": "cott shirt"}, []),
        ({"q": "sh"}, ["shirt-1", "shirt-2", "shirt-3", "short-1"]),
        ({"q": "sh", "category": "Clothing"}, ["shirt-1", "shirt-2", "short-1"]),
        ({"q": "linen clothing"}, ["shirt-1", "short-1"]),
        ({"q": "cafe"}, ["mug-1"]),
        ({"q": "CAFÉ"}, ["mug-1"]),
        ({"q": "grosse"}, ["shirt-3"]),
        ({"q": "für tage"}, ["shirt-1"]),
        ({"q": "hirt"}, []),
        ({"q": "shirt unknown"}, []),
        ({"q": "unknown shirt"}, []),
        ({"q": " - "}, ["mug-1", "shirt-1", "shirt-2", "shirt-3", "short-1"]),
        ({"q": "shirt", "category": "Food"}, []),
    ],
)
async def test_a_search_finds_products_with_all_its_words(
    filled: Filled, wanted: dict[str, Any], found: list[str]
) -> None:
    await filled.put(*CLOTHES)
    assert await filled.ids(**wanted) == found
    assert await filled.ids(**wanted, limit=1) == found


async def test_a_product_is_found_by_what_it_is_called_now(filled: Filled) -> None:
    await filled.put(SHIRT, CLOTHES[1])
    await filled.put(product("shirt-1", 6, name="Silk blouse", category="Evening"))
    assert await filled.ids(q="linen") == []
    assert await filled.ids(q="shirt") == ["shirt-2"]
    assert await filled.ids(q="blouse") == await filled.ids(category="Evening") == ["shirt-1"]
    await filled.put(product("shirt-1", 7, name="Silk blouse", category=None, active=False))
    assert await filled.ids(q="blouse") == await filled.ids(category="Evening") == []
    assert isinstance(await filled.cache.read("shirt-1"), Product)
    await filled.put(product("shirt-1", 8, name="Silk blouse"))
    assert await filled.ids(q="blo") == ["shirt-1"]


async def test_words_that_no_product_has_any_more_leave_no_key(filled: Filled) -> None:
    empty = await filled.keys()
    words = await filled.client.execute("ZCARD", f"{IN_REDIS}{{catalogue}}:words")
    await filled.put(*CLOTHES)
    await filled.put(*(ProductDeletion(one.product_id, one.version) for one in CLOTHES))
    assert await filled.keys() == empty
    assert await filled.client.execute("ZCARD", f"{IN_REDIS}{{catalogue}}:words") == words


async def test_leftovers_of_a_lost_index_are_not_found(filled: Filled) -> None:
    await filled.put(*CLOTHES)
    await filled.client.execute("DEL", f"{IN_REDIS}{{catalogue}}:facts")
    await filled.begin()
    await filled.complete()
    await filled.put(CLOTHES[1])
    assert await filled.ids(q="shirt") == await filled.ids(category="Clothing") == ["shirt-2"]


async def test_a_rare_pair_of_common_words_is_found_page_by_page(filled: Filled) -> None:
    for start in range(0, 10_000, 100):
        await filled.put(
            *(
                product(f"p{number:05}", name=("red" if number % 2 else "blue") + " thing")
                for number in range(start, start + 100)
            )
        )
    await filled.put(product("p09999", 2, name="red blue thing"))
    page = await filled.page(q="red blue", limit=2)
    assert page.next_cursor is not None
    assert await filled.ids(q="red blue", limit=2) == ["p09999"]
    assert len(await filled.ids(q="re", limit=50)) == 5000
