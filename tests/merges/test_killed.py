"""Merges whose gateway or agent is killed between any two steps, Redis wiped in between: each line once."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.failstop import EXIT_RESTART
from tests.merges.kill_points import OF_AGENTS, OF_GATEWAYS
from tests.merges.merge_client import MergeClient
from tests.support.http import http_client
from tests.support.processes import AgentProcess, GatewayProcess, Process
from tests.support.waiting import until

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

SEEDS = int(os.environ.get("CARTSTREAM_TEST_SEEDS", "2"))
DEVICES = 3
USERS = 2
MOST_PIECES = 100
"""That a guest adds meanwhile: a cart has room for 500 lines."""
SESSIONS = 3
"""Of a shopper, before the login."""
LIVES = 4
"""Of a process that is killed again and again."""
OPERATIONS = ("before an operation", "operation in Redis")
GATEWAY_STEPS = [
    f"{step}#{times}" for step in OF_GATEWAYS for times in ((1, 2, 3) if step in OPERATIONS else (1,))
]
AGENT_STEPS = [
    f"{step}#{times}" for step in OF_AGENTS for times in ((1, 2, 3) if step in OPERATIONS else (1,))
]


class DyingAgent(AgentProcess):
    """The merge agent in a process that kills itself."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        super().__init__(("streams", "merges"), environment, folder)
        self._command = [self._command[0], "-m", "tests.merges.dying_agent"]


@pytest.fixture
async def dying_gateway(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway's process that kills itself, not started yet; it leaves no merge to the agent before that."""
    patient = {**environment, "CARTSTREAM_MERGE_WAIT_S": "20"}
    process = GatewayProcess(patient, tmp_path, "tests.merges.dying_gateway")
    yield process
    process.kill()


@pytest.fixture
async def dying_agent(
    agents: dict[str, AgentProcess], environment: dict[str, str], tmp_path: Path
) -> AsyncIterator[AgentProcess]:
    """A merge agent that kills itself, not started yet, in the place of the other one."""
    await agents["merges"].stop()
    static = {"CARTSTREAM_GROUP_INSTANCE_ID": "streams-merges-merges"}
    process = DyingAgent({**environment, **static}, tmp_path)
    yield process
    process.kill()
    await agents["merges"].start()


@pytest.mark.parametrize("step", GATEWAY_STEPS)
async def test_a_gateway_killed_after_a_step_leaves_a_merge_that_others_finish(
    client: MergeClient, dying_gateway: GatewayProcess, step: str
) -> None:
    user, guest = client.user(), client.guest()
    await client.add(user, "mug", 1)
    await client.add(guest, "mug", 2)
    await client.add(guest, "shirt", 3)
    await asyncio.to_thread(dying_gateway.start, CARTSTREAM_TEST_DIE_AFTER=step)
    async with http_client(dying_gateway.url) as http:
        with pytest.raises(httpx.HTTPError):
            await http.post(f"/v1/carts/{user}/merge", json={"guest": guest})
    assert await asyncio.to_thread(dying_gateway.wait) == -9
    if step.startswith("row of the merge"):
        await client.merge(user, guest)  # nothing was begun: the guest asks again
    await client.until_settled()
    assert await client.quantities(user) == {"mug": 3, "shirt": 3}
    assert await client.quantities(guest) == {}
    assert (await client.ask(user, guest)).status_code == 200


@pytest.mark.parametrize("step", OF_GATEWAYS)
async def test_a_gateway_killed_between_two_sessions_leaves_a_cart_that_the_login_takes_along(
    client: MergeClient, dying_gateway: GatewayProcess, step: str
) -> None:
    user, first, second = client.user(), client.guest("first"), client.guest("second")
    await client.add(first, "mug", 2)
    await client.add(first, "shirt", 3)
    await client.add(second, "mug", 1)
    await asyncio.to_thread(dying_gateway.start, CARTSTREAM_TEST_DIE_AFTER=step)
    async with http_client(dying_gateway.url) as http:
        with pytest.raises(httpx.HTTPError):
            await http.post(f"/v1/carts/{second}/merge", json={"guest": first})
    assert await asyncio.to_thread(dying_gateway.wait) == -9
    await client.merge(user, second)
    if step == "row of the merge":
        await client.merge(user, first)  # nothing was begun, and the second session's cart is closed now
    await client.until_settled()
    assert await client.quantities(user) == {"mug": 3, "shirt": 3}
    assert (await client.quantities(first), await client.quantities(second)) == ({}, {})


@pytest.mark.parametrize("step", AGENT_STEPS)
async def test_an_agent_killed_after_a_step_leaves_a_merge_that_the_next_one_finishes(
    client: MergeClient, dying_agent: AgentProcess, step: str
) -> None:
    user, guest = client.user(), client.guest()
    lines = {f"p{place}": 1 + place % 7 for place in range(60)}
    body = [
        {"op": "add", "product_id": line, "quantity": quantity, "unit_price": 5, "currency": "EUR"}
        for line, quantity in lines.items()
    ]
    reply = await client.http.patch(f"/v1/carts/{guest}", json={"operations": body})
    assert reply.status_code == 200, reply.text
    asked = await client.ask(user, guest)
    assert asked.status_code == 202, asked.text
    merge_id = asked.json()["merge_id"]
    dying_agent.launch(CARTSTREAM_TEST_DIE_AFTER=step)  # it may die before it says that it is ready

    async def is_dead_or_idle() -> bool:
        # The job may take a step before a slow agent does, which then has nothing to die after.
        reply = await client.http.get(f"/v1/merges/{merge_id}")
        return dying_agent.has_ended() or (reply.status_code == 200 and reply.json()["status"] == "done")

    await until(is_dead_or_idle, "the agent killed")
    dying_agent.kill()
    assert dying_agent.running.returncode == -9
    await dying_agent.start(CARTSTREAM_TEST_DIE_AFTER="never")
    await client.done(merge_id)
    await client.until_settled()
    assert await client.quantities(user) == lines
    assert await client.quantities(guest) == {}


class Devices:
    """Guests who log in as users, each on a device of its own, and go on adding until they are refused."""

    def __init__(self, client: MergeClient, url: str, chance: random.Random) -> None:
        self._client = client
        self._url = url
        self._chance = chance
        self.added: dict[str, set[str]] = {client.user(place): set() for place in range(USERS)}
        self.guests = {
            client.guest(f"{place}-{number}"): user
            for place, user in enumerate(self.added)
            for number in range(DEVICES)
        }

    async def log_in_all(self) -> None:
        """All of them at once."""
        await asyncio.gather(*(self._log_in(guest, user) for guest, user in self.guests.items()))

    async def _log_in(self, guest: str, user: str) -> None:
        name = guest.rpartition(":")[2]
        for number in range(self._chance.randint(1, 4)):
            await self._client.add(guest, f"{name}-before-{number}")
            self.added[user].add(f"{name}-before-{number}")
        merging = asyncio.create_task(ask_until_answered(self._url, user, guest))
        number = 0
        while not merging.done() and number < MOST_PIECES:
            line = f"{name}-{number}"
            reply = await self._client.try_to_add(guest, line, key=line)
            if reply.status_code == 409:
                break
            if reply.status_code == 200:
                number += 1
                if "durability=kafka" in reply.headers["preference-applied"]:
                    self.added[user].add(line)
            await asyncio.sleep(0.05)
        await merging


async def through_kills_and_a_wipe(
    client: MergeClient,
    dying: Mapping[str, Process],
    logging_in: Coroutine[Any, Any, None],
    seed: str,
    wiped_after_s: float,
) -> None:
    """Let shoppers log in while the processes die and come again, and Redis is wiped once; none runs then."""
    over = asyncio.Event()
    keepers = [
        asyncio.create_task(keep_alive(process, f"{seed}-{name}", over)) for name, process in dying.items()
    ]
    working = asyncio.create_task(logging_in)
    await asyncio.sleep(wiped_after_s)
    await client.wipe()
    await working
    over.set()
    for process in dying.values():
        process.kill()
    await asyncio.gather(*keepers)


async def all_are_merged(client: MergeClient, guests: Iterable[str]) -> None:
    """Each of these carts is merged and shows no line."""
    for guest in guests:
        read = await client.read(guest)
        assert (read["status"], read["lines"]) == ("merged", [])


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_killed_again_and_again_while_guests_add(
    client: MergeClient, dying_gateway: GatewayProcess, dying_agent: AgentProcess, seed: int
) -> None:
    """Every piece that was acknowledged is in its user's cart once; Redis is wiped on the way."""
    chance = random.Random(seed)
    devices = Devices(client, dying_gateway.url, chance)
    dying = {"gateway": dying_gateway, "agent": dying_agent}
    await through_kills_and_a_wipe(client, dying, devices.log_in_all(), str(seed), chance.random())
    await dying_agent.start(CARTSTREAM_TEST_DIE_AFTER="never")
    await client.until_settled()

    for user, lines in devices.added.items():
        found = await until(partial(restored, client, user), "the user's cart")
        assert {line: quantity for line, quantity in found.items() if quantity != 1} == {}
        assert lines - found.keys() == set()
    await all_are_merged(client, devices.guests)


class Sessions:
    """Shoppers whose session's id changes again and again before they log in; they add in each session."""

    def __init__(self, client: MergeClient, url: str, chance: random.Random) -> None:
        self._client = client
        self._url = url
        self._chance = chance
        self.added: dict[str, set[str]] = {client.user(place): set() for place in range(USERS)}
        self.guests: list[str] = []

    async def log_in_all(self) -> None:
        """All of them at once."""
        await asyncio.gather(*(self._go_through(place, user) for place, user in enumerate(self.added)))

    async def _go_through(self, place: int, user: str) -> None:
        carts = [self._client.guest(f"{place}-{number}") for number in range(SESSIONS)] + [user]
        self.guests += carts[:-1]
        asking = []
        for number, (guest, into) in enumerate(pairwise(carts)):
            for piece in range(self._chance.randint(1, 3)):
                line = f"{number}-{piece}"
                await self._client.add(guest, line)
                self.added[user].add(line)
            # The next session does not wait for it; some ask twice.
            asking += [
                asyncio.create_task(ask_until_answered(self._url, into, guest))
                for _ in range(self._chance.randint(1, 2))
            ]
            await asyncio.sleep(self._chance.random() / 2)
        await asyncio.gather(*asking)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_killed_again_and_again_while_sessions_change(
    client: MergeClient, dying_gateway: GatewayProcess, dying_agent: AgentProcess, seed: int
) -> None:
    """Every piece of every session is in its user's cart once; Redis is wiped on the way."""
    chance = random.Random(f"sessions-{seed}")
    sessions = Sessions(client, dying_gateway.url, chance)
    dying = {"gateway": dying_gateway, "agent": dying_agent}
    await through_kills_and_a_wipe(
        client, dying, sessions.log_in_all(), f"{seed}-sessions", 1 + chance.random()
    )
    await dying_agent.start(CARTSTREAM_TEST_DIE_AFTER="never")
    await client.until_settled()

    for user, lines in sessions.added.items():
        found = await until(partial(restored, client, user), "the user's cart")
        assert found == dict.fromkeys(lines, 1)
    await all_are_merged(client, sessions.guests)


async def restored(client: MergeClient, user: str) -> dict[str, int]:
    """The user's cart, once Redis has it again."""
    reply = await client.http.get(f"/v1/carts/{user}")
    if reply.status_code != 200 or "cart-freshness" in reply.headers:
        return {}
    return {line["line_id"]: line["quantity"] for line in reply.json()["lines"]}


async def ask_until_answered(url: str, user: str, guest: str) -> None:
    """Ask for the merge until somebody answers; where the cart has gone on, into the one it has become."""
    into = user
    while True:
        async with http_client(url) as http:
            with suppress(httpx.TransportError):
                reply = await http.post(f"/v1/carts/{into}/merge", json={"guest": guest})
                if reply.status_code in {200, 202}:
                    return
                if reply.status_code == 409:
                    into = reply.json()["into"]
                    continue
                assert reply.status_code == 503, reply.text
        await asyncio.sleep(0.1)


async def keep_alive(process: Process, seed: str, over: asyncio.Event) -> None:
    """Start a process whenever it has died, with another fate each time."""
    life = 0
    while not over.is_set():
        # The last ones live until all is done.
        fate = f"{seed}-{life}:{0.08 if life < LIVES else 0}"
        await asyncio.to_thread(process.launch, CARTSTREAM_TEST_DIE_AFTER=fate)
        code = await asyncio.to_thread(process.wait, None)
        assert code in {-9, EXIT_RESTART}, process.tail
        life += 1
