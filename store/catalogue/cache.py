r"""Products in Redis: read by id, priced by their facts, listed and searched; filled from `products`.

    {catalogue}:facts            hash: id -> `version unit_price currency stock active name`, stock - if it is
                                 not counted; a deleted product has only its version. `!…`: of the cache
    {catalogue}:documents        hash: id -> JSON of the product
    {catalogue}:texts            hash: id -> category and words of a listed product (store.catalogue.words)
    {catalogue}:ids              zset: ids of listed products in their order
    {catalogue}:words            zset: all words there are
    {catalogue}:word:<word>      zset: ids of listed products with this word
    {catalogue}:category:<name>  zset: ids of listed products of this category

All members of the zsets have score 0: Redis keeps them by their bytes. `!` is before every id and word.
"""

import secrets
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from carts.ids import check_product_id
from carts.products import Facts, Product, facts_of
from store import scripts
from store.catalogue.results import (
    CacheLost,
    CacheNotReady,
    Following,
    Page,
    ProductDeletion,
    Put,
    Regressed,
)
from store.catalogue.words import Search, listing_of
from store.client import PipelinedClient
from store.results import PositionMoved
from store.wire import Argument

_FACTS: Final = b"{catalogue}:facts"
_DOCUMENTS: Final = b"{catalogue}:documents"
_TEXTS: Final = b"{catalogue}:texts"
_IDS: Final = b"{catalogue}:ids"
_WORDS: Final = b"{catalogue}:words"
_KEYS: Final = (_FACTS, _DOCUMENTS, _TEXTS, _IDS, _WORDS)
_COMPLETE: Final = b"!complete"

ROUNDS: Final = 8
"""How often a search looks further for one page, at twice as many each time; then it gives what it has."""
ENDINGS: Final = 64
"""Words that an unfinished word may stand for, to be looked up one by one."""

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Product)


class ProductCache:
    """The catalogue in one Redis. Each method raises store.errors.StoreError when Redis fails."""

    def __init__(self, client: PipelinedClient) -> None:
        """`client` is connected and belongs to the caller."""
        self._client: Final = client

    # Reading

    async def ready(self) -> bool:
        """Whether every partition of `products` has been followed to its end."""
        return bool(await self._client.execute(b"HEXISTS", _FACTS, _COMPLETE))

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

    async def page(
        self, *, cursor: str | None = None, q: str | None = None, category: str | None = None, limit: int = 24
    ) -> Page | CacheNotReady:
        """Up to `limit` active products after `cursor`, with all words of `q` (the last may be unfinished).

        Pages follow the ids, so that what is added or taken away meanwhile neither repeats nor hides another
        product. Raises carts.errors.InvalidIdentifier for a cursor that no page has given.
        """
        after = check_product_id(cursor) if cursor is not None else "!"
        search = Search.of(q, category)
        lists = await self._lists(search)
        found: list[str] = []
        more = bool(lists)
        for step in range(ROUNDS):
            if not more or len(found) > limit:
                break
            ids, more = await self._next(lists, after, (limit + 1) << step)
            found += ids if search.prefix is None else await self._matching(search, ids)
            after = ids[-1] if ids else after
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

    async def _lists(self, search: Search) -> list[bytes]:
        """The shortest lists that together hold every product that is meant; none if there can be none."""
        if search.prefix is None and search.category is None:
            return [_IDS]
        single = [_word_list(word) for word in search.words]
        if search.category is not None:
            single.append(b"{catalogue}:category:" + search.category.encode())
        endings = await self._endings(search.prefix)
        sizes = await self._client.execute_all((b"ZCARD", key) for key in chain(single, endings, (_IDS,)))
        choices = [([key], size) for key, size in zip(single, sizes, strict=False)]
        if search.prefix is not None and len(endings) <= ENDINGS:
            choices.append((endings, sum(sizes[len(single) : -1])))
        choices.append(([_IDS], sizes[-1]))
        lists, size = min(choices, key=lambda choice: choice[1])
        return lists if size else []

    async def _endings(self, prefix: str | None) -> list[bytes]:
        """The lists of words that begin with `prefix`; more than ENDINGS: these are not all."""
        if prefix is None:
            return []
        start = prefix.encode()
        words = await self._client.execute(
            b"ZRANGE", _WORDS, b"[" + start, b"[" + start + b"\xff", b"BYLEX", b"LIMIT", 0, ENDINGS + 1
        )
        return [b"{catalogue}:word:" + word for word in words]

    async def _next(self, lists: Sequence[bytes], after: str, count: int) -> tuple[list[str], bool]:
        """The next `count` ids after `after` in any of the lists, and whether there are more."""
        start = b"(" + after.encode()
        parts = await self._client.execute_all(
            (b"ZRANGE", key, start, b"+", b"BYLEX", b"LIMIT", 0, count + 1) for key in lists
        )
        ids = sorted(set(chain.from_iterable(parts)))
        return [one.decode() for one in ids[:count]], len(ids) > count

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

    async def follow(self, partitions: int, *, instead_of: str = "") -> Following:
        """How far the cache is. One that is not whole, or is generation `instead_of`, begins anew."""
        name = secrets.token_hex(8)
        generation, complete, *positions = await self._client.run(
            scripts.CATALOGUE_FOLLOW, _KEYS, (name, partitions, instead_of)
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
    ) -> Put | Regressed | PositionMoved | CacheLost:
        """Put what a stretch of the topic says into the cache, newer versions only, and move its position.

        `expected` is the position before it (None: the partition was never read), `position` the one after;
        `at_end`: the topic had no more when this copy of the cache began to follow it. At most some hundred.
        """
        arguments: list[Argument] = [
            generation,
            partition,
            "" if expected is None else expected,
            position,
            "end" if at_end else "",
            partitions,
        ]
        for change in changes:
            arguments += _arguments(change)
        reply = await self._client.run(scripts.CATALOGUE_PUT, _KEYS, arguments)
        return _answer(reply)


def pack_facts(facts: Facts) -> bytes:
    """The facts as they stand in Redis."""
    stock = "-" if facts.stock is None else facts.stock
    packed = f"{facts.version} {facts.unit_price} {facts.currency} {stock} {int(facts.active)} {facts.name}"
    return packed.encode()


def unpack_facts(packed: bytes) -> Facts | None:
    """The facts that `pack_facts` packed; None of a deleted product."""
    version, blank, rest = packed.decode().partition(" ")
    if not blank:
        return None
    unit_price, currency, stock, active, name = rest.split(" ", 4)
    return Facts(
        int(version),
        int(unit_price),
        currency,
        None if stock == "-" else int(stock),
        active == "1",
        name,
    )


def _word_list(word: str) -> bytes:
    return b"{catalogue}:word:" + word.encode()


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


def _answer(reply: list[Any]) -> Put | Regressed | PositionMoved | CacheLost:
    match reply:
        case [b"put", applied, unchanged]:
            return Put(applied, unchanged)
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
