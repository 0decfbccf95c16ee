"""The one client of Redis, whatever it is: each request goes to the server that has its keys.

That is always the same one, or whichever the sentinels call master, or in a cluster the one that has the
slot. Where a slot is elsewhere by now, moves, or has lost its server, the request is sent again until it is
answered or its time is up: unless it may have been carried out, and then its outcome is unknown.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, Final, Self, TypeVar

import structlog
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from runtime.cancellation import cancel_until_ended
from store.redis.cluster import SlotMap
from store.redis.connection import Waited
from store.redis.errors import NotHere, ScriptMissing, ServerLeft, StoreError, StoreUnavailable, TryAgain
from store.redis.layout import SLOTS
from store.redis.node import Bounds, Node
from store.redis.scripts import Script
from store.redis.servers import Server, Servers, Topology, locator
from store.redis.settings import RedisSettings
from store.redis.wire import Argument, pack

log = structlog.get_logger(__name__)

T = TypeVar("T")

_ASKING: Final = pack((b"ASKING",))
_WATCH_S: Final = 0.5
_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.2
_MOST_ATTEMPTS: Final = 100
"""Servers that send each other's clients to each other are no cluster."""
_ELSEWHERE: Final = (NotHere, ServerLeft, TryAgain, ScriptMissing)
"""Nothing was done. Another server can do it, or the same one a little later, or once it has the script."""


class PipelinedClient:
    """Belongs to one event loop. Methods raise StoreError when Redis fails.

    A command goes where its first key is, which is its second word, unless a slot is given.
    """

    def __init__(
        self,
        settings: RedisSettings,
        *,
        name: str = "cartstream",
        patience_s: float | None = None,
        waited: Waited | None = None,
    ) -> None:
        """`name` is shown by CLIENT LIST.

        A connection may be lost for `patience_s` before requests are refused at once; without it they
        wait as long as for a reply. `waited` is told of each pipeline how long it took.
        """
        self._servers: Final = Servers.of(settings.redis_url)
        self._bounds: Final = Bounds(
            name=name,
            connect_timeout_s=settings.redis_connect_timeout_s,
            timeout_s=settings.redis_timeout_s,
            max_requests=settings.redis_max_requests,
            patience_s=patience_s,
            waited=waited,
        )
        self._patience: Final = self._bounds.timeout_s if patience_s is None else patience_s
        self._loop: asyncio.AbstractEventLoop
        self._map: SlotMap | None = None
        self._known: dict[Server, Node] = {}
        self._by_slot: list[Node] = []
        self._watching: asyncio.Task[None] | None = None
        self._nowhere: Node
        """In a cluster: has the slots of which no server is known."""

    # Connecting

    async def connect(self) -> None:
        """Connect and load the scripts. Raises StoreError if that does not work at once."""
        self._loop = asyncio.get_running_loop()
        if self._servers.topology is Topology.CLUSTER:
            await self._connect_cluster()
            return
        node = self._by_slot[0] if self._by_slot else self._new_node(self._servers.seeds[0])
        self._by_slot = [node] * SLOTS
        if self._servers.topology is Topology.SENTINEL and self._watching is None:
            self._watching = self._loop.create_task(self._watch(node))
        await node.open()

    async def _connect_cluster(self) -> None:
        if self._map is None:
            self._nowhere = self._new_nowhere()
            self._by_slot = [self._nowhere] * SLOTS
            self._map = SlotMap(self._servers, self._bounds.connect_timeout_s, self._place)
        await self._map.look()
        self._map.start()
        await asyncio.gather(*(node.until_open() for node in self.nodes))

    def keep_connecting(self) -> None:
        """After `connect` has failed: go on trying in the background. Requests fail meanwhile."""
        if self._map is None:
            self._by_slot[0].keep_connecting()
        elif not self._known:
            self._map.start()
            self._map.look_soon()

    async def close(self) -> None:
        """Close; requests under way fail with UnknownOutcome, later ones with StoreUnavailable."""
        if self._watching is not None:
            cancel_until_ended(self._watching)
        if self._map is not None:
            await self._map.close()
        for node in {*self._by_slot, *self._known.values()}:
            await node.close()

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What there is

    @property
    def nodes(self) -> list[Node]:
        """The servers that have slots."""
        return self._by_slot[:1] if self._map is None else [*self._known.values()]

    def node_of(self, slot: int) -> Node:
        """The server that has the slot."""
        return self._by_slot[slot]

    @property
    def connected(self) -> bool:
        """Whether there is a connection to every server now."""
        return bool(self.nodes) and all(node.connected for node in self.nodes)

    def unanswered_s(self) -> float:
        """How long the next reply of any server is waited for by now, in seconds; 0: none is due."""
        since = [node.unanswered_since for node in self.nodes]
        return min((self._loop.time() - began for began in since if began is not None), default=0.0)

    @property
    def unreachable(self) -> list[str]:
        """Each server without a connection, and slots without a server."""
        found = [node.address for node in self.nodes if not node.connected]
        if self._map is not None and (lacking := self._by_slot.count(self._nowhere)):
            found.append(f"whoever should have {lacking} slots")
        return found

    @property
    def is_replica(self) -> bool:
        """Whether a server is a replica, as far as known: what is read there may be old."""
        return any(node.is_replica for node in self.nodes)

    async def ask_role(self) -> None:
        """Learn which servers are replicas by now. Raises StoreError if none answers."""
        await self.of_each(Node.ask_role)

    @staticmethod
    async def _watch(node: Node) -> None:
        """Leave a master that the sentinels have deposed, even if it still answers."""
        while True:
            await asyncio.sleep(_WATCH_S)
            try:
                await node.ask_role()
            except StoreError:
                pass  # the node says so itself
            except Exception:
                log.exception("redis.role_unknown", address=node.address)

    async def ask_each(self, *command: Argument) -> list[Any]:
        """What those servers answer to a command that do answer. Raises StoreError if none does."""
        return await self.of_each(lambda node: node.execute(*command))

    async def of_each(self, ask: Callable[[Node], Awaitable[T]]) -> list[T]:
        """The same for what is asked of each server."""
        found, failures = await self._ask(ask)
        if found:
            return found
        raise next(iter(failures), _nobody_known())

    async def of_all(self, ask: Callable[[Node], Awaitable[T]]) -> list[T]:
        """What every server answers. Raises StoreError if one does not, or slots have no server."""
        found, failures = await self._ask(ask)
        if failures:
            raise failures[0]
        if not found or (self._map is not None and self._nowhere in self._by_slot):
            raise _nobody_known()
        return found

    async def _ask(self, ask: Callable[[Node], Awaitable[T]]) -> tuple[list[T], list[BaseException]]:
        answers = await asyncio.gather(*map(ask, self.nodes), return_exceptions=True)
        return (
            [answer for answer in answers if not isinstance(answer, BaseException)],
            [answer for answer in answers if isinstance(answer, BaseException)],
        )

    # Requests

    async def execute(self, *command: Argument, slot: int | None = None) -> Any:
        """The reply to one command: bytes, int, float, list, dict or None."""
        return await self._send(self._slot_of(command, slot), pack(command))

    async def execute_all(
        self, commands: Iterable[Sequence[Argument]], slots: Iterable[int | None] = repeat(None)
    ) -> list[Any]:
        """The replies to commands of one tick; `slots` has one for each. Raises the first StoreError."""
        replies = await self.try_all(commands, slots)
        for reply in replies:
            if isinstance(reply, StoreError):
                raise reply
        return replies

    async def try_all(
        self, commands: Iterable[Sequence[Argument]], slots: Iterable[int | None] = repeat(None)
    ) -> list[Any]:
        """The same with a StoreError in the place of each reply that did not come."""
        sent = [
            (self._slot_of(command, slot), pack(command))
            for command, slot in zip(commands, slots, strict=False)
        ]
        futures = [self._submitted(where, packed) for where, packed in sent]
        replies: list[Any] = await asyncio.gather(*futures, return_exceptions=True)
        again = [number for number, reply in enumerate(replies) if isinstance(reply, _ELSEWHERE)]
        if again:
            asked = (self._send_again(*sent[number], replies[number]) for number in again)
            for number, reply in zip(
                again, await asyncio.gather(*asked, return_exceptions=True), strict=True
            ):
                replies[number] = reply
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, StoreError):
                raise reply
        return replies

    def _submitted(self, slot: int, packed: bytes) -> asyncio.Future[Any]:
        try:
            return self._by_slot[slot].submit(packed)
        except StoreError as error:
            refused: asyncio.Future[Any] = self._loop.create_future()
            refused.set_exception(error)
            return refused

    async def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
        """What a script returns. All its keys have one slot."""
        slot = self._slot_of((b"", keys[0]), None)
        return await self.call(script, slot, pack((b"EVALSHA", script.sha, len(keys), *keys, *arguments)))

    async def call(self, script: Script, slot: int, packed: bytes) -> Any:
        """What a script returns to this EVALSHA. One that the server has forgotten is loaded first."""
        try:
            return await self._by_slot[slot].submit(packed)
        except _ELSEWHERE as error:
            return await self._send_again(slot, packed, error, script)

    def _slot_of(self, command: Sequence[Argument], slot: int | None) -> int:
        if slot is not None:
            return slot
        if self._map is None:
            return 0
        if len(command) == 1:
            raise ValueError(f"{command[0]!r} has no key: which server is meant?")
        key = command[1]
        return key_slot(key if isinstance(key, bytes) else str(key).encode())

    async def _send(self, slot: int, packed: bytes) -> Any:
        try:
            return await self._by_slot[slot].submit(packed)
        except _ELSEWHERE as error:
            return await self._send_again(slot, packed, error)

    async def _send_again(
        self, slot: int, packed: bytes, error: StoreError, script: Script | None = None
    ) -> Any:
        """Send it where the server says, to whoever has the slot by now, or again after a moment."""
        until = self._loop.time() + self._patience
        pause = _FIRST_PAUSE_S
        node, is_asked = self._by_slot[slot], False
        for _ in range(_MOST_ATTEMPTS):
            match error:
                case ScriptMissing() if script is not None:
                    await node.execute(b"SCRIPT", b"LOAD", script.source)
                case NotHere() if self._map is not None:
                    node, is_asked = self._redirected(slot, node, error)
                case ServerLeft() | TryAgain() if self._map is not None and self._loop.time() < until:
                    self._map.look_soon()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
                    node, is_asked = self._by_slot[slot], False
                case _:
                    raise error
            try:
                if is_asked:
                    return await node.submit(_ASKING + packed, [], 1)
                return await node.submit(packed)
            except _ELSEWHERE as again:
                error = again
        raise error

    # Cluster

    def _redirected(self, slot: int, node: Node, error: NotHere) -> tuple[Node, bool]:
        """The server that is said to have the slot, or to be asked for this key alone (True)."""
        code, _, place = str(error).partition(" ")
        if code not in {"MOVED", "ASK"} or self._map is None:
            raise error  # keys of several slots
        found: AskError = (MovedError if code == "MOVED" else AskError)(place)
        there = self._node_at(Server(found.host or node.host, found.port))
        if code == "ASK":
            return there, True
        self._by_slot[slot] = there
        self._map.look_soon()
        return there, False

    def _place(self, owners: list[Server | None]) -> None:
        """Send to these servers from now on, and to no other."""
        nowhere, self._nowhere = self._nowhere, self._new_nowhere()
        left = self._known.keys() - set(owners)
        self._by_slot = [self._nowhere if owner is None else self._node_at(owner) for owner in owners]
        for server in left:
            log.info("redis.server_left", address=str(server))
            self._known.pop(server).leave()
        nowhere.leave()

    def _node_at(self, server: Server) -> Node:
        node = self._known.get(server)
        if node is None:
            node = self._known[server] = self._new_node(server)
            node.keep_connecting()
        return node

    def _new_node(self, server: Server) -> Node:
        locate = locator(self._servers, server, self._bounds.connect_timeout_s)
        return Node(self._servers, locate, self._bounds, None if self._map is None else self._map.look_soon)

    def _new_nowhere(self) -> Node:
        return Node(self._servers, _nowhere_known, self._bounds)


async def _nowhere_known() -> Server:
    raise _nobody_known()


def _nobody_known() -> StoreUnavailable:
    return StoreUnavailable("no server of the cluster is known to have the slot")
