"""Clients as a shop has them: they add, change and read carts, retry when in doubt, send things twice."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import aiohttp
import msgspec

from tests.faults.history import (
    Add,
    Clear,
    Fail,
    History,
    Invoke,
    Note,
    Ok,
    Remove,
    Set,
    Unknown,
    Wish,
    now_us,
)
from tests.faults.shopper import Cart, Shopper

TIMEOUT: Final = aiohttp.ClientTimeout(total=8.0)
"""Longer than the gateway's own deadline: who waits longer has a frozen gateway before him."""
REFUSALS: Final = frozenset({"restoring", "outbox-full"})
"""The 503s that are decided before anything is changed."""
NOT_CONNECTED: Final = "not connected"
RETRY_SECONDS: Final = 60.0
"""How long a client tries again with the same key; within the product's horizon of ten minutes."""
CURRENCY: Final = "EUR"


@dataclass(frozen=True)
class Load:
    """How much is asked: clients at once, carts between them, a client's mean pause."""

    clients: int = 16
    carts: int = 48
    pause_seconds: float = 0.05


@dataclass
class Request:
    """One HTTP request, for any gateway."""

    method: str
    path: str
    body: dict[str, Any] | None
    headers: dict[str, str]


def uuid7(randomness: random.Random) -> str:
    """A UUID of version 7 (RFC 9562): milliseconds first, then chance."""
    value = (time.time_ns() // 1_000_000 << 80) | (7 << 76) | (randomness.getrandbits(12) << 64)
    value |= (2 << 62) | randomness.getrandbits(62)
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def request_for(cart_id: str, wishes: Sequence[Wish], headers: dict[str, str]) -> Request:
    """The request that asks for this: the route made for it, or a PATCH of several operations."""
    path = f"/v1/carts/{cart_id}"
    match list(wishes):
        case [Add() as add]:
            return Request("POST", f"{path}/items", _added(add), headers)
        case [Set(line_id, quantity)]:
            return Request("PATCH", f"{path}/items/{line_id}", {"quantity": quantity}, headers)
        case [Remove(line_id)]:
            return Request("DELETE", f"{path}/items/{line_id}", None, headers)
        case [Clear()]:
            return Request("DELETE", path, None, headers)
    return Request("PATCH", path, {"operations": [_operation(wish) for wish in wishes]}, headers)


def _added(add: Add) -> dict[str, Any]:
    return {
        "product_id": add.line_id,
        "quantity": add.quantity,
        "unit_price": add.unit_price,
        "currency": CURRENCY,
    }


def _operation(wish: Wish) -> dict[str, Any]:
    match wish:
        case Add():
            return {"op": "add", **_added(wish)}
        case Set(line_id, quantity):
            return {"op": "set", "line_id": line_id, "quantity": quantity}
        case Remove(line_id):
            return {"op": "remove", "line_id": line_id}
        case Clear():
            return {"op": "clear"}
        case Note(text):
            return {"op": "metadata", "metadata": {"note": text}}


class Reply(msgspec.Struct, frozen=True):
    """What of an HTTP response matters here."""

    status: int
    headers: dict[str, str]
    body: bytes


def verdict(reply: Reply, op: int, attempt: int) -> Ok | Fail | Unknown:
    """What a reply tells about the attempt."""
    if 200 <= reply.status < 300:
        applied = reply.headers.get("preference-applied", "")
        durability = applied.partition("durability=")[2].partition(",")[0] or None
        receipt = reply.headers.get("cart-receipt")
        place = None
        if receipt is not None:
            _, partition, offset = receipt.split("/")
            place = (int(partition), int(offset))
        return Ok(
            at=now_us(),
            op=op,
            attempt=attempt,
            version=reply.headers["etag"].strip('"'),
            durability=durability,
            receipt=place,
            stale=reply.headers.get("cart-freshness") == "stale",
        )
    slug = _slug(reply)
    if reply.status < 500 or slug in REFUSALS:
        return Fail(at=now_us(), op=op, attempt=attempt, reason=slug)
    return Unknown(at=now_us(), op=op, attempt=attempt, reason=slug)


def _slug(reply: Reply) -> str:
    try:
        problem = msgspec.json.decode(reply.body)
        return str(problem["type"]).rpartition("/")[2]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return f"status {reply.status}"


class Caller:
    """Sends attempts to gateways, and writes what was sent and what came of it into the history."""

    def __init__(self, session: aiohttp.ClientSession, gateways: Sequence[str], history: History) -> None:
        self.gateways: Final = gateways
        self.history: Final = history
        self._session = session

    async def attempt(
        self, cart: Cart, request: Request, invoke: Invoke, gateway: int
    ) -> Ok | Fail | Unknown:
        """One attempt; `cart` is then as the reply shows it."""
        self.history.write(msgspec.structs.replace(invoke, at=now_us(), gateway=gateway))
        result = await self._send(cart, request, invoke, self.gateways[gateway])
        self.history.write(result)
        return result

    async def _send(self, cart: Cart, request: Request, invoke: Invoke, base: str) -> Ok | Fail | Unknown:
        try:
            async with self._session.request(
                request.method, base + request.path, json=request.body, headers=request.headers
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                reply = Reply(response.status, headers, await response.read())
        except aiohttp.ClientConnectorError:
            return Fail(at=now_us(), op=invoke.op, attempt=invoke.attempt, reason=NOT_CONNECTED)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Unknown(at=now_us(), op=invoke.op, attempt=invoke.attempt, reason=type(error).__name__)
        result = verdict(reply, invoke.op, invoke.attempt)
        if isinstance(result, Ok) and not result.stale:
            cart.tag = result.version
            cart.lines = [line["line_id"] for line in msgspec.json.decode(reply.body)["lines"]]
        return result


Pick = Callable[[random.Random], int]
"""Which gateway gets the next attempt."""


def anyone(randomness: random.Random) -> int:
    """Either gateway, whatever its state."""
    return randomness.randrange(2)


class Crowd:
    """All clients of a run."""

    def __init__(
        self,
        gateways: Sequence[str],
        history: History,
        seed: int,
        load: Load,
        writing: asyncio.Event,
        pick: Pick,
    ) -> None:
        # Fresh carts for a seed that is played again at the same stand.
        run = uuid4().hex[:8]
        self.cart_ids: Final = [f"guest:{run}-s{seed}-{index}" for index in range(load.carts)]
        self._gateways = gateways
        self._history = history
        self._seed = seed
        self._load = load
        self._writing = writing
        self._pick = pick
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Lets all clients work until `stop`; each ends the operation it is at."""
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(self._load.clients):
                caller = Caller(session, self._gateways, self._history)
                group.create_task(self._work(Client(number, self._seed, caller, self._pick)))

    def stop(self) -> None:
        """No more operations."""
        self._stopping.set()

    async def _work(self, client: "Client") -> None:
        carts = [Cart(cart_id) for cart_id in self.cart_ids]
        async with asyncio.TaskGroup() as later:
            while not self._stopping.is_set():
                await self._writing.wait()
                await client.operate(client.randomness.choice(carts), later)
                await asyncio.sleep(client.randomness.expovariate(1 / self._load.pause_seconds))


class Client:
    """One client: a stream of operations, one after the other, decided by its seed and what it sees."""

    def __init__(self, number: int, seed: int, caller: Caller, pick: Pick) -> None:
        self.randomness: Final = random.Random(f"client {seed}-{number}")
        self._number = number
        self._caller = caller
        self._pick = pick
        self._shopper = Shopper(number, self.randomness)

    async def operate(self, cart: Cart, later: asyncio.TaskGroup) -> None:
        """Reads or changes the cart; a duplicate of it may follow on its own in `later`."""
        if self.randomness.random() < 0.15:
            await self._attempt(cart, Request("GET", f"/v1/carts/{cart.cart_id}", None, {}), self._new(cart))
            return
        wishes = self._shopper.wish(cart)
        if_match = cart.tag if self.randomness.random() < 0.08 else None
        invoke = self._new(cart, uuid7(self.randomness), wishes, if_match)
        request = request_for(cart.cart_id, wishes, self._headers(invoke))
        chance = self.randomness.random()
        if chance < 0.04:
            await asyncio.gather(
                self._attempt(cart, request, invoke),
                self._attempt(cart, request, again(invoke)),
            )
        else:
            last = await self._until_sure(cart, request, invoke)
            if chance < 0.12:
                later.create_task(self._duplicate(cart, request, last))

    def _new(
        self,
        cart: Cart,
        key: str | None = None,
        wishes: tuple[Wish, ...] = (),
        if_match: str | None = None,
    ) -> Invoke:
        return Invoke(
            at=0,
            op=self._caller.history.next_op(),
            attempt=1,
            client=self._number,
            cart_id=cart.cart_id,
            key=key,
            wishes=wishes,
            if_match=if_match,
        )

    def _headers(self, invoke: Invoke) -> dict[str, str]:
        headers = {"idempotency-key": invoke.key or ""}
        if invoke.if_match:
            headers["if-match"] = f'"{invoke.if_match}"'
        prefer = self.randomness.choices(
            ("", "durability=kafka, handling=strict", "durability=postgres", "durability=redis"),
            (85, 7, 4, 4),
        )[0]
        return {**headers, "prefer": prefer} if prefer else headers

    async def _until_sure(self, cart: Cart, request: Request, invoke: Invoke) -> Invoke:
        """Tries until somebody says what happened; one client in ten times gives up at the first doubt."""
        patience = 0.0 if self.randomness.random() < 0.1 else RETRY_SECONDS
        end = time.monotonic() + patience
        pause = 0.1
        while True:
            result = await self._attempt(cart, request, invoke)
            refused = isinstance(result, Fail) and result.reason not in {*REFUSALS, NOT_CONNECTED}
            if isinstance(result, Ok) or refused or time.monotonic() > end:
                return invoke
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)
            invoke = again(invoke)

    async def _duplicate(self, cart: Cart, request: Request, last: Invoke) -> None:
        """The same request once more, at once or after what may have broken meanwhile."""
        await asyncio.sleep(self.randomness.choice((0.0, 0.3, 5.0)))
        await self._attempt(cart, request, again(last))

    async def _attempt(self, cart: Cart, request: Request, invoke: Invoke) -> Ok | Fail | Unknown:
        return await self._caller.attempt(cart, request, invoke, self._pick(self.randomness))


def again(invoke: Invoke) -> Invoke:
    """The next attempt at the same operation."""
    return msgspec.structs.replace(invoke, attempt=invoke.attempt + 1)
