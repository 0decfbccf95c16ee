"""Sends attempts to a gateway, and writes what was sent and what came of it into the history."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from tests.faults.catalogue import CURRENCY
from tests.faults.erasure_records import EraseAttempt, Erased
from tests.faults.history import (
    Add,
    Clear,
    Command,
    Detail,
    Fail,
    History,
    Invoke,
    Note,
    Ok,
    Remove,
    Save,
    Set,
    Unknown,
    now_us,
)
from tests.faults.order_records import Cancel, CheckOut, Look, OrderAttempt, Ordered
from tests.faults.shopper import Cart

TIMEOUT: Final = aiohttp.ClientTimeout(total=8.0)
"""Longer than the gateway's own deadline: who waits longer has a frozen gateway before him."""
ORDER_TIMEOUT: Final = aiohttp.ClientTimeout(total=25.0)
"""A checkout may wait for the cart to get into Postgres."""
ERASE_TIMEOUT: Final = aiohttp.ClientTimeout(total=40.0)
"""An erasure waits until every store has done it."""
REFUSALS: Final = frozenset({"restoring", "outbox-full", "catalogue-restoring", "cart-not-delivered"})
"""The 503s that are decided before anything is changed."""
NOT_CONNECTED: Final = "not connected"
OUTDATED: Final = "cart-outdated"


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


def request_for(cart_id: str, commands: Sequence[Command], headers: dict[str, str]) -> Request:
    """The request that asks for this: the route made for it, or a PATCH of several operations."""
    path = f"/v1/carts/{cart_id}"
    match list(commands):
        case [Add() as add]:
            return Request("POST", f"{path}/items", _added(add), headers)
        case [Set(line_id, quantity)]:
            return Request("PATCH", f"{path}/items/{line_id}", {"quantity": quantity}, headers)
        case [Remove(line_id)]:
            return Request("DELETE", f"{path}/items/{line_id}", None, headers)
        case [Clear()]:
            return Request("DELETE", path, None, headers)
    return Request("PATCH", path, {"operations": [_operation(command) for command in commands]}, headers)


def _added(add: Add) -> dict[str, Any]:
    return {
        "product_id": add.line_id,
        "quantity": add.quantity,
        "unit_price": add.unit_price,
        "currency": CURRENCY,
    }


def _operation(command: Command) -> dict[str, Any]:
    asked: dict[str, Any]
    match command:
        case Add():
            asked = {"op": "add", **_added(command)}
        case Set(line_id, quantity):
            asked = {"op": "set", "line_id": line_id, "quantity": quantity}
        case Remove(line_id):
            asked = {"op": "remove", "line_id": line_id}
        case Clear():
            asked = {"op": "clear"}
        case Note(text):
            asked = {"op": "metadata", "metadata": {"note": text}}
        case Detail(email):
            asked = {"op": "details", "email": email, "codes": None}
        case Save(line_id, quantity):
            asked = {"op": "save", "product_id": line_id, "quantity": quantity}
    return asked


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
            # Behind a dot: what the catalogue says of the lines, which is no state of the cart.
            version=reply.headers["etag"].strip('"').partition(".")[0],
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


def order_verdict(reply: Reply, asked: OrderAttempt) -> Ordered | Fail | Unknown:
    """What a reply tells about the attempt at an order request."""
    op, attempt = asked.op, asked.attempt
    if 200 <= reply.status < 300:
        order = msgspec.json.decode(reply.body)
        return Ordered(
            at=now_us(),
            op=op,
            attempt=attempt,
            order_id=order["order_id"],
            seq=order["seq"],
            status=order["status"],
            lines={line["line_id"]: line["quantity"] for line in order["lines"]},
            total=order["totals"]["total"],
        )
    slug = _slug(reply)
    if reply.status < 500 or slug in REFUSALS:
        return Fail(at=now_us(), op=op, attempt=attempt, reason=slug)
    return Unknown(at=now_us(), op=op, attempt=attempt, reason=slug)


def http_request_for(asked: OrderAttempt) -> Request:
    """The HTTP request that carries it."""
    match asked.order_request:
        case CheckOut(email):
            body = {} if email is None else {"email": email}
            path = f"/v1/carts/{asked.cart_id}/checkout"
            return Request("POST", path, body, {"idempotency-key": asked.key or ""})
        case Cancel(order_id):
            return Request("POST", f"/v1/orders/{order_id}/cancel", None, {})
        case Look(order_id):
            return Request("GET", f"/v1/orders/{order_id}", None, {})


def erase_verdict(reply: Reply, asked: EraseAttempt) -> Erased | Fail | Unknown:
    """What a reply tells about the attempt at an erasure."""
    op, attempt = asked.op, asked.attempt
    if 200 <= reply.status < 300:
        certificate = msgspec.json.decode(reply.body)
        return Erased(
            at=now_us(),
            op=op,
            attempt=attempt,
            erasure_id=certificate["erasure_id"],
            version=certificate["version"],
            complete=certificate["complete"],
        )
    # The outbox in Postgres may have it although Redis, or the answer of Postgres, failed afterwards.
    slug = _slug(reply)
    kind = Fail if reply.status < 500 else Unknown
    return kind(at=now_us(), op=op, attempt=attempt, reason=slug)


def client_session(**options: Any) -> aiohttp.ClientSession:
    """A session that sends a request once.

    By itself aiohttp sends a GET or a DELETE again when a kept connection breaks: a request that a
    gateway took before it died would be made twice, or be taken for one that found nobody listening.
    """
    session = aiohttp.ClientSession(**options)
    session._retry_connection = False  # noqa: SLF001 - there is no public way; aiohttp's test client does it so
    return session


class Caller:
    """Sends attempts to gateways, and writes what was sent and what came of it into the history."""

    def __init__(self, session: aiohttp.ClientSession, gateways: Sequence[str], history: History) -> None:
        """`session` is made by `client_session`."""
        self.gateways: Final = gateways
        self.history: Final = history
        self._session = session

    async def attempt(
        self, cart: Cart, request: Request, invoke: Invoke, gateway: int
    ) -> Ok | Fail | Unknown:
        """One attempt; `cart` is then as the reply shows it."""
        self.history.write(msgspec.structs.replace(invoke, at=now_us(), gateway=gateway))
        reply = await self._send(invoke, request, gateway, TIMEOUT)
        result = verdict(reply, invoke.op, invoke.attempt) if isinstance(reply, Reply) else reply
        if isinstance(reply, Reply) and isinstance(result, Ok) and not result.stale:
            cart.tag = result.version
            cart.lines = [line["line_id"] for line in msgspec.json.decode(reply.body)["lines"]]
        self.history.write(result)
        return result

    async def attempt_order(self, cart: Cart, asked: OrderAttempt, gateway: int) -> Ordered | Fail | Unknown:
        """One attempt at an order request; `cart` then knows its lines that cannot be ordered as they are."""
        self.history.write(msgspec.structs.replace(asked, at=now_us(), gateway=gateway))
        reply = await self._send(asked, http_request_for(asked), gateway, ORDER_TIMEOUT)
        result = order_verdict(reply, asked) if isinstance(reply, Reply) else reply
        if isinstance(reply, Reply) and isinstance(result, Fail) and result.reason == OUTDATED:
            cart.outdated = [each["line_id"] for each in msgspec.json.decode(reply.body)["differences"]]
        self.history.write(result)
        return result

    async def attempt_erasure(self, asked: EraseAttempt, gateway: int) -> Erased | Fail | Unknown:
        """One attempt at having a cart erased."""
        self.history.write(msgspec.structs.replace(asked, at=now_us(), gateway=gateway))
        request = Request("DELETE", f"/v1/carts/{asked.cart_id}?erase=true", None, {})
        reply = await self._send(asked, request, gateway, ERASE_TIMEOUT)
        result = erase_verdict(reply, asked) if isinstance(reply, Reply) else reply
        self.history.write(result)
        return result

    async def _send(
        self,
        what: Invoke | OrderAttempt | EraseAttempt,
        request: Request,
        gateway: int,
        timeout: aiohttp.ClientTimeout,
    ) -> Reply | Fail | Unknown:
        try:
            async with self._session.request(
                request.method,
                self.gateways[gateway] + request.path,
                json=request.body,
                headers=request.headers,
                timeout=timeout,
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, headers, await response.read())
        except aiohttp.ClientConnectorError:
            return Fail(at=now_us(), op=what.op, attempt=what.attempt, reason=NOT_CONNECTED)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Unknown(at=now_us(), op=what.op, attempt=what.attempt, reason=type(error).__name__)
