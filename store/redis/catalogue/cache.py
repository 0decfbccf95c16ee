r"""Products in Redis: read by id, priced by their facts, listed and searched; filled from `products`.

    {catalogue}:facts            hash: id -> `version unit_price currency stock active name`, stock - if it is
                                 not counted, then a line with the image's URL and one with the options as
                                 JSON, if there are any; a deleted product has only its version. `!…`: of the
                                 cache, `!standing:…` since when a partition stands still: Redis is full
    {catalogue}:documents        hash: id -> JSON of the product
    {catalogue}:texts            hash: id -> category and words of a listed product (module `words`)
    {catalogue}:ids              zset: ids of listed products in their order
    {catalogue}:words            zset: all words there are
    {catalogue}:word:<word>      set: ids of listed products with this word
    {catalogue}:category:<name>  zset: ids of listed products of this category

All members of the zsets have score 0: Redis orders them by their bytes. `!` is before every id and word.
With a prefix (topics.names) all keys begin with it.
"""

import secrets
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, Final, TypeAlias

import msgspec

from carts.ids import check_product_id
from carts.products import Facts, Product, facts_of
from store.redis import scripts
from store.redis.catalogue.results import (
    CacheLost,
    CacheNotReady,
    Following,
    NoRoom,
    Page,
    ProductDeletion,
    ProductsPut,
    Regressed,
)
from store.redis.catalogue.words import Search, listing_of
from store.redis.client import PipelinedClient
from store.redis.errors import StoreFull
from store.redis.results import PositionMoved
from store.redis.wire import Argument
from topics.names import IN_REDIS

_PLACE: Final = f"{IN_REDIS}{{catalogue}}:".encode()
_FACTS: Final = _PLACE + b"facts"
_DOCUMENTS: Final = _PLACE + b"documents"
_TEXTS: Final = _PLACE + b"texts"
_IDS: Final = _PLACE + b"ids"
_WORDS: Final = _PLACE + b"words"
_WORD: Final = _PLACE + b"word:"
_CATEGORY: Final = _PLACE + b"category:"
_KEYS: Final = (_FACTS, _DOCUMENTS, _TEXTS, _IDS, _WORDS)
_COMPLETE: Final = b"!complete"

FIRST_LOOK: Final = 100
"""Products that a search looks at first."""
ROUNDS: Final = 6
"""How often it looks further for one page, each time at twice as many; then it gives what it has."""
FEW: Final = 4000
"""Products with a word that may be fetched all at once, and that are looked at in one round at most."""
ENDINGS: Final = 64
"""Words that an unfinished word may stand for, to be looked up one by one."""

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Product)
_OPTIONS: Final = msgspec.json.Decoder(dict[str, tuple[str, ...]])


_Following: TypeAlias = Callable[[str, int], Awaitable[tuple[list[str], bool]]]
"""The next so many ids after one, and whether there are more."""


class ProductCache:
    """The catalogue in one Redis. Each method raises store.redis.errors.StoreError when Redis fails."""

    def __init__(self, client: PipelinedClient) -> None:
        """`client` is connected and belongs to the caller."""
        self._client: Final = client
        self.has_room = True
        """Whether it may grow, as far as known: whoever looks at the server's memory sets it."""

    # Reading

    async def ready(self) -> bool:
        """Whether every partition of `products` has been followed to its end."""
        return bool(await self._client.execute(b"HEXISTS", _FACTS, _COMPLETE))

    async def positions(self, partitions: int) -> dict[int, int]:
        """How far each partition of `products` has been followed; one that was not is left out."""
        fields = [f"!position:{partition}" for partition in range(partitions)]
        found = await self._client.execute(b"HMGET", _FACTS, *fields)
        return {partition: int(value) for partition, value in enumerate(found) if value}

    async def standing_since_us(self, partitions: int) -> int | None:
        """Since when (us) a partition of `products` stands still because Redis is full; None: none does."""
        fields = [f"!standing:{partition}" for partition in range(partitions)]
        found = await self._client.execute(b"HMGET", _FACTS, *fields)
        return min((int(value) for value in found if value), default=None)

    async def facts(self, product_ids: Iterable[str]) -> dict[str, Facts | None] | CacheNotReady:
        """What is known of each product, None of one that does not exist. One HMGET."""
        ids = list(dict.fromkeys(product_ids))
        complete, *found = await self._client.execute(b"HMGET", _FACTS, _COMPLETE, *ids)
        if complete is None:
            return CacheNotReady()
        return {
            product_id: None if packed is None else unpack_facts(packed)
            for product_id, packed in zip(ids, found, strict=True)
        }

    async def read(self, product_id: str) -> Product | CacheNotReady | None:
        """The product, an inactive one too; None if there is none."""
        # Complete after the document: a product that was wiped before is not taken for one that is unknown.
        document, complete = await self._client.execute_all(
            ((b"HGET", _DOCUMENTS, product_id), (b"HEXISTS", _FACTS, _COMPLETE))
        )
        if not complete:
            return CacheNotReady()
        return None if document is None else _DECODER.decode(document)

    async def read_many(self, product_ids: Sequence[str]) -> list[Product] | CacheNotReady:
        """Those of the products that exist, inactive ones too, in the order asked for."""
        documents, complete = await self._documents(product_ids)
        if not complete:
            return CacheNotReady()
        return [_DECODER.decode(document) for document in documents if document is not None]

    async def page(
        self, *, cursor: str | None = None, q: str | None = None, category: str | None = None, limit: int = 24
    ) -> Page | CacheNotReady:
        """Up to `limit` active products after `cursor`, with all words of `q` (the last may be unfinished).

        Pages follow the ids, so that what is added or taken away meanwhile neither repeats nor hides another
        product. Raises carts.errors.InvalidIdentifier for a cursor that no page has given.
        """
        after = check_product_id(cursor) if cursor is not None else "!"
        search = Search.of(q, category)
        following = await self._candidates(search)
        found: list[str] = []
        more = True
        count = limit + 1 if search.prefix is None else max(limit + 1, FIRST_LOOK)
        for _ in range(ROUNDS):
            ids, more = await following(after, count)
            count *= 2
            found += ids if search.prefix is None else await self._matching(search, ids)
            after = ids[-1] if ids else after
            if not more or len(found) > limit:
                break
        if len(found) > limit:
            found, more = found[:limit], True
            after = found[-1]
        documents, complete = await self._documents(found)
        if not complete:
            return CacheNotReady()
        products = [_DECODER.decode(document) for document in documents if document is not None]
        # It may have changed since it was found.
        products = [one for one in products if one.active and category in {None, one.category}]
        return Page(products, after if more else None)

    async def _candidates(self, search: Search) -> _Following:
        """Products among which all that are meant are found, as few as can be had quickly."""
        ordered = _IDS if search.category is None else _CATEGORY + search.category.encode()
        if search.prefix is None:
            return partial(self._listed, ordered)
        whole = [_word_key(word) for word in search.words]
        endings = await self._endings(search.prefix)
        sizes = await self._client.execute_all((b"SCARD", key) for key in chain(whole, endings))
        fewest = min(sizes[: len(whole)], default=FEW + 1)
        ended = sum(sizes[len(whole) :]) if len(endings) <= ENDINGS else FEW + 1
        if not endings:
            return _Some([])
        if ended < fewest and ended <= FEW:
            return _Some(await self._client.execute(b"SUNION", *endings))
        if fewest <= FEW:
            return _Some(await self._client.execute(b"SINTER", *whole))
        return partial(self._listed, ordered)

    async def _endings(self, prefix: str) -> list[bytes]:
        """The keys of words that begin with `prefix`; more than ENDINGS: these are not all."""
        start = prefix.encode()
        words = await self._client.execute(
            b"ZRANGE", _WORDS, b"[" + start, b"[" + start + b"\xff", b"BYLEX", b"LIMIT", 0, ENDINGS + 1
        )
        return [_word_key(word.decode()) for word in words]

    async def _listed(self, ordered: bytes, after: str, count: int) -> tuple[list[str], bool]:
        ids = await self._client.execute(
            b"ZRANGE", ordered, b"(" + after.encode(), b"+", b"BYLEX", b"LIMIT", 0, min(count, FEW) + 1
        )
        more = len(ids) > min(count, FEW)
        return [one.decode() for one in ids[: min(count, FEW)]], more

    async def _matching(self, search: Search, ids: Sequence[str]) -> list[str]:
        if not ids:
            return []
        texts = await self._client.execute(b"HMGET", _TEXTS, *ids)
        return [one for one, text in zip(ids, texts, strict=True) if search.finds(text)]

    async def _documents(self, ids: Sequence[str]) -> tuple[list[bytes | None], bool]:
        if not ids:
            return [], await self.ready()
        documents, complete = await self._client.execute_all(
            ((b"HMGET", _DOCUMENTS, *ids), (b"HEXISTS", _FACTS, _COMPLETE))
        )
        return documents, bool(complete)

    # Filling

    async def follow(self, partitions: int) -> Following:
        """How far the cache is. One that is not whole begins anew."""
        name = secrets.token_hex(8)
        generation, complete, *positions = await self._client.run(
            scripts.CATALOGUE_FOLLOW, _KEYS, (name, partitions)
        )
        return Following(
            generation.decode(),
            {partition: int(position) for partition, position in enumerate(positions) if position},
            bool(complete),
        )

    async def put(
        self,
        partition: int,
        generation: str,
        expected: int | None,
        position: int,
        changes: Sequence[Product | ProductDeletion],
        *,
        partitions: int,
        at_end: bool,
    ) -> ProductsPut | Regressed | PositionMoved | CacheLost | NoRoom:
        """Put what a stretch of the topic says into the cache, newer versions only, and move its position.

        `expected` is the position before it (None: the partition was never read), `position` the one after;
        `at_end`: the topic had no more when this copy of the cache began to follow it. At most some hundred.
        Without room products are only replaced, by what is about as large.
        """
        arguments: list[Argument] = [
            generation,
            partition,
            "" if expected is None else expected,
            position,
            "end" if at_end else "",
            partitions,
        ]
        products = [argument for change in changes for argument in _arguments(change)]
        if self.has_room:
            with suppress(StoreFull):
                reply = await self._client.run(scripts.CATALOGUE_PUT, _KEYS, (*arguments, b"", *products))
                return _answer(reply)
        reply = await self._client.run(scripts.CATALOGUE_PUT_WHEN_FULL, _KEYS, (*arguments, b"1", *products))
        return _answer(reply)


class _Some:
    """A few ids, found by a word, in their order."""

    def __init__(self, ids: Iterable[bytes]) -> None:
        self._ids = sorted(one.decode() for one in ids)

    async def __call__(self, after: str, count: int) -> tuple[list[str], bool]:
        start = bisect_right(self._ids, after)
        return self._ids[start : start + count], len(self._ids) > start + count


def pack_facts(facts: Facts) -> bytes:
    """The facts as they stand in Redis."""
    stock = "-" if facts.stock is None else facts.stock
    packed = f"{facts.version} {facts.unit_price} {facts.currency} {stock} {int(facts.active)} {facts.name}"
    lines = [packed, facts.image_url or "", _ENCODER.encode(facts.options).decode() if facts.options else ""]
    return "\n".join(lines).rstrip("\n").encode()


def unpack_facts(packed: bytes) -> Facts | None:
    """The facts that `pack_facts` packed; None of a deleted product."""
    version, blank, rest = packed.decode().partition(" ")
    if not blank:
        return None
    unit_price, currency, stock, active, texts = rest.split(" ", 4)
    name, image_url, options, *_ = (*texts.split("\n", 2), "", "")
    return Facts(
        int(version),
        int(unit_price),
        currency,
        None if stock == "-" else int(stock),
        active == "1",
        name,
        image_url or None,
        _OPTIONS.decode(options) if options else {},
    )


def _word_key(word: str) -> bytes:
    return _WORD + word.encode()


def _arguments(change: Product | ProductDeletion) -> tuple[Argument, ...]:
    if isinstance(change, ProductDeletion):
        return change.product_id, change.version, b"", b"", b""
    return (
        change.product_id,
        change.version,
        pack_facts(facts_of(change)),
        _ENCODER.encode(change),
        listing_of(change),
    )


def _answer(reply: list[Any]) -> ProductsPut | Regressed | PositionMoved | CacheLost | NoRoom:
    match reply:
        case [b"full"]:
            return NoRoom()
        case [b"put", applied, unchanged]:
            return ProductsPut(applied, unchanged)
        case [b"regressed", *current]:
            return Regressed(
                [
                    _DECODER.decode(document) if document else ProductDeletion(name.decode(), int(version))
                    for name, version, document in zip(
                        current[::3], current[1::3], current[2::3], strict=True
                    )
                ]
            )
        case [b"moved", *position]:
            return PositionMoved(int(position[0]) if position and position[0] is not None else None)
        case _:
            return CacheLost()
