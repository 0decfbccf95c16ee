"""Guests who log in while everything breaks: what they have added is in the carts of their users, each once.

Every add has options of its own, and so a line of its own with one piece: what is lost or doubled is seen.
"""

import asyncio
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Self
from uuid import uuid4

import aiohttp

from tests.faults.buyers import Pick
from tests.faults.caller import TIMEOUT, uuid7
from tests.faults.stores import Violation

PRODUCT: Final = "tea"
DEVICES: Final = 3
"""Guests who log in at once."""
CHANGED_SESSIONS: Final = 0.3
"""Of all guests: so many get another session, and with it another cart, before they log in."""
LOGINS_PER_USER: Final = 8
"""On each device: a cart has room for only so many lines."""
DONE_SECONDS: Final = 180.0
"""How long a cart's next merge may take to come to its end."""
RETRY_SECONDS: Final = 60.0
"""A client gives an add up after it: the gateway refuses older retries."""
_POLL_SECONDS: Final = 0.2
_FAILED: Final = (aiohttp.ClientError, TimeoutError, OSError)
_PAUSE_SECONDS: Final = 0.3


@dataclass
class Login:
    """A guest's cart on its way into a user's: what was added to it, and what was answered.

    It goes there by way of `next`, if the guest's session gets another id before the login.
    """

    guest: str
    user: str
    next: Self | None = None
    acknowledged: set[str] = field(default_factory=set)
    """Adds that are in Kafka."""
    asked: set[str] = field(default_factory=set)
    """All that were asked for."""
    merge_id: str | None = None

    @property
    def is_on_its_way(self) -> bool:
        """Whether a client was told of every merge that the lines need."""
        return self.merge_id is not None and (self.next is None or self.next.is_on_its_way)


class Logins:
    """The guests of a run. They log in until `stop`, some on several devices at once."""

    def __init__(self, gateways: Sequence[str], seed: int, writing: asyncio.Event, pick: Pick) -> None:
        self.logins: Final[list[Login]] = []
        self.failed: Final[Counter[str]] = Counter()
        """Requests of guests that failed, by status or error: no client is to blame."""
        self._run: Final = uuid4().hex[:8]
        self._gateways = gateways
        self._randomness = random.Random(f"logins {seed}")
        self._writing = writing
        self._pick = pick
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Lets guests log in until `stop`; each ends what it is at."""
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session, asyncio.TaskGroup() as group:
            for device in range(DEVICES):
                group.create_task(self._device(session, device))

    def stop(self) -> None:
        """No more guests."""
        self._stopping.set()

    @property
    def merges(self) -> int:
        """Guests' carts that were merged, as far as clients were told."""
        return sum(login.merge_id is not None for login in self.logins)

    async def violations(self) -> list[Violation]:
        """What is wrong once every merge has come to its end."""
        users: defaultdict[str, list[Login]] = defaultdict(list)
        for login in self.logins:
            users[login.user].append(login)
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            # All at once: while one gateway is sick each of them takes as long as it may.
            found = await asyncio.gather(*(self._of_user(session, *user) for user in users.items()))
        return [violation for of_user in found for violation in of_user]

    async def _device(self, session: aiohttp.ClientSession, device: int) -> None:
        number = 0
        while not self._stopping.is_set():
            await self._writing.wait()
            # The devices go through the users in step, so that they meet.
            user = f"user:{self._run}-{number // LOGINS_PER_USER}"
            login = Login(f"guest:{self._run}-{device}-{number}", user)
            carts = [login]
            if self._randomness.random() < CHANGED_SESSIONS:
                carts.append(Login(f"{login.guest}-before", user, login))
            self.logins.extend(carts)
            number += 1
            for cart in carts:
                for _ in range(self._randomness.randint(1, 4)):
                    await self._add(session, cart)
            late = [self._add(session, login) for _ in range(self._randomness.randint(0, 2))]
            twice = 2 if self._randomness.random() < 0.3 else 1
            await asyncio.gather(*(self._merge(session, cart) for cart in twice * carts), *late)
            await asyncio.sleep(self._randomness.expovariate(1 / _PAUSE_SECONDS))

    async def _add(self, session: aiohttp.ClientSession, login: Login) -> None:
        """Add a piece of its own, until the answer is sure or too late."""
        mark, key = uuid4().hex[:12], uuid7(self._randomness)
        login.asked.add(mark)
        end = asyncio.get_running_loop().time() + RETRY_SECONDS
        while asyncio.get_running_loop().time() < end:
            try:
                async with session.post(
                    f"{self._gateway()}/v1/carts/{login.guest}/items",
                    json={"product_id": PRODUCT, "quantity": 1, "options": {"mark": mark}},
                    headers={"idempotency-key": key},
                ) as reply:
                    if reply.ok and "durability=redis" not in reply.headers.get("preference-applied", ""):
                        login.acknowledged.add(mark)
                    if reply.ok or reply.status == HTTPStatus.CONFLICT:
                        return  # a merged cart refuses it, but may have taken an earlier attempt
                    await self._note(reply)
            except _FAILED as error:
                self.failed[type(error).__name__] += 1
            await asyncio.sleep(_POLL_SECONDS)

    async def _merge(self, session: aiohttp.ClientSession, login: Login) -> None:
        """Ask for the merge until somebody answers; into what the next session's cart has become by then."""
        into = login.user if login.next is None else login.next.guest
        while not self._stopping.is_set():
            try:
                async with session.post(
                    f"{self._gateway()}/v1/carts/{into}/merge", json={"guest": login.guest}
                ) as reply:
                    if reply.status in {200, 202}:
                        login.merge_id = (await reply.json())["merge_id"]
                        return
                    if reply.status == HTTPStatus.CONFLICT:
                        into = (await reply.json())["into"]
                    await self._note(reply)
            except _FAILED as error:
                self.failed[type(error).__name__] += 1
            await asyncio.sleep(_POLL_SECONDS)

    async def _note(self, reply: aiohttp.ClientResponse) -> None:
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.failed[f"{reply.status} {(await reply.json())['type'].rpartition('/')[2]}"] += 1

    async def _of_user(
        self, session: aiohttp.ClientSession, user: str, logins: Sequence[Login]
    ) -> list[Violation]:
        """Until the carts are right, or nothing gets better: merges into a cart come one after the other."""
        loop = asyncio.get_running_loop()
        fewest, end = sys.maxsize, loop.time()
        while True:
            found = await self._wrong(session, user, logins)
            if len(found) < fewest:
                fewest, end = len(found), loop.time() + DONE_SECONDS
            if not found or loop.time() > end:
                return found
            await asyncio.sleep(1.0)

    async def _wrong(
        self, session: aiohttp.ClientSession, user: str, logins: Sequence[Login]
    ) -> list[Violation]:
        cart = await self._read(session, f"/v1/carts/{user}")
        if cart is None:
            return [Violation("merge unreadable", user, "")]
        had = pieces(cart)
        known = set().union(*(login.asked for login in logins))
        found = [
            *(
                Violation("doubled", user, f"{mark}, {count} times")
                for mark, count in had.items()
                if count > 1
            ),
            *(Violation("invented", user, mark) for mark in had.keys() - known),
        ]
        for login in logins:
            if not login.is_on_its_way:
                continue  # nobody was told that it has begun
            found += [
                Violation("lost", user, f"{mark} of {login.guest}")
                for mark in login.acknowledged - had.keys()
            ]
            merge = await self._read(session, f"/v1/merges/{login.merge_id}")
            guest = await self._read(session, f"/v1/carts/{login.guest}")
            if merge is None or guest is None or merge["status"] != "done" or guest["lines"]:
                found.append(Violation("merge not done", login.guest, str((merge, guest))))
        return found

    async def _read(self, session: aiohttp.ClientSession, path: str) -> dict[str, Any] | None:
        """A document of one of the gateways, None where there is none now, or an old one."""
        try:
            async with session.get(self._gateway() + path) as reply:
                if not reply.ok or "cart-freshness" in reply.headers:
                    return None
                document: dict[str, Any] = await reply.json()
                return document
        except _FAILED:
            return None

    def _gateway(self) -> str:
        return self._gateways[self._pick(self._randomness)]


def pieces(cart: dict[str, Any]) -> dict[str, int]:
    """The pieces of a cart by their marks."""
    return {line["options"]["mark"]: line["quantity"] for line in cart["lines"]}
