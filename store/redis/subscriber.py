"""Hears of changes of carts: the shard channels of some partitions, on a connection of its own.

What is published while the connection is away is lost. So the listener is told from when on a partition is
heard, and reads what it may have missed.
"""

import asyncio
from typing import Any, Final, Protocol

from store.redis.cluster import SlotMap
from store.redis.home import Home
from store.redis.layout import EVERY_CART, Layout
from store.redis.servers import Server, Servers, Topology, locator
from store.redis.settings import RedisSettings


class ChangeListener(Protocol):
    """Who wants to hear."""

    def changed(self, cart_id: str, tag: str) -> None:
        """The cart has this version now, or a newer one."""

    def hearing(self, partition: int) -> None:
        """Every change of the partition's carts from now on is heard; earlier ones may have been missed."""

    def deaf(self) -> None:
        """Nothing has been heard of any partition for longer than the patience."""


class ChangeSubscriber:
    """Hears of changes in the partitions that somebody follows. Belongs to one event loop."""

    def __init__(self, settings: RedisSettings, layout: Layout, *, name: str, patience_s: float) -> None:
        """`name` is shown by CLIENT LIST. The connection may be lost for `patience_s` before it matters."""
        self._servers: Final = Servers.of(settings.redis_url)
        self._connect_timeout: Final = settings.redis_connect_timeout_s
        self._name: Final = name
        self._patience: Final = patience_s
        self._layout: Final = layout
        self._channels: Final = [layout.of_partition(p).events for p in range(layout.partitions)]
        self._partitions: Final = {channel: p for p, channel in enumerate(self._channels)}
        self._followed: Final[set[int]] = set()
        self._listener: ChangeListener
        self._home: Home | None = None
        """Where all partitions are heard, if there is no cluster."""
        self._map: SlotMap | None = None
        self._owners: list[Server | None] = []
        self._homes: Final[dict[Server, Home]] = {}
        self._closing: Final[set[asyncio.Task[None]]] = set()
        self._patience_timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.is_deaf = False

    def start(self, listener: ChangeListener) -> None:
        """Connect, and stay connected, in the background."""
        self._listener = listener
        if self._servers.topology is Topology.CLUSTER:
            self._map = SlotMap(self._servers, self._connect_timeout, self._place)
            self._map.start()
            self._map.look_soon()
        else:
            self._home = self._new_home(self._servers.seeds[0])
        self._note()

    async def close(self) -> None:
        """Hear no more."""
        self._is_closed = True
        if self._patience_timer is not None:
            self._patience_timer.cancel()
        if self._map is not None:
            await self._map.close()
        for home in self._all_homes():
            await home.close()
        await asyncio.gather(*self._closing)

    def follow(self, partition: int) -> None:
        """Hear of changes in the partition; `hearing` says from when on."""
        self._followed.add(partition)
        home = self._home_of(partition)
        if home is not None:
            home.subscribe(self._channels[partition])

    def leave(self, partition: int) -> None:
        """Hear no more of the partition."""
        self._followed.discard(partition)
        for home in self._all_homes():
            home.unsubscribe(self._channels[partition])

    def _all_homes(self) -> list[Home]:
        return [*self._homes.values()] if self._home is None else [self._home]

    def _home_of(self, partition: int) -> Home | None:
        """Where the partition is heard; None while that is not known."""
        if self._home is not None or not self._owners:
            return self._home
        server = self._owners[self._layout.slot(partition)]
        if server is None:
            return None
        home = self._homes.get(server)
        if home is None:
            home = self._homes[server] = self._new_home(server)
        return home

    def _new_home(self, server: Server) -> Home:
        return Home(
            self._servers,
            locator(self._servers, server, self._connect_timeout),
            self._name,
            self._connect_timeout,
            heard=self._heard,
            changed=self._note,
        )

    def _place(self, owners: list[Server | None]) -> None:
        """Hear each partition where its slot is now, and nobody who has none of them."""
        self._owners = owners
        for partition in self._followed:
            channel = self._channels[partition]
            found = self._home_of(partition)
            for home in self._all_homes():
                if home is found:
                    home.subscribe(channel)
                else:
                    home.unsubscribe(channel)
        for server in [server for server, home in self._homes.items() if not home.channels]:
            task = asyncio.get_running_loop().create_task(self._homes.pop(server).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._note()

    def _note(self) -> None:
        """Whether everything that is followed is heard: for how long it may not be is counted from here."""
        if self._is_closed:
            return
        homes = self._all_homes()
        is_known = self._home is not None or bool(self._owners)
        if is_known and all(home.is_listening for home in homes):
            if self._patience_timer is not None:
                self._patience_timer.cancel()
                self._patience_timer = None
            self.is_deaf = False
            return
        if self._map is not None:
            self._map.look_soon()
        if self._patience_timer is None:
            loop = asyncio.get_running_loop()
            self._patience_timer = loop.call_later(self._patience, self._go_deaf)

    def _go_deaf(self) -> None:
        self.is_deaf = True
        self._listener.deaf()

    def _heard(self, home: Home, push: list[Any]) -> None:
        kind, channel, message = push
        partition = self._partitions.get(channel)
        if partition is None or partition not in self._followed:
            return
        if kind == b"smessage" and message == EVERY_CART:
            self._listener.hearing(partition)
        elif kind == b"smessage":
            # Ids may hold spaces, tags do not.
            cart_id, _, tag = message.rpartition(b" ")
            self._listener.changed(cart_id.decode(), tag.decode())
        elif kind == b"ssubscribe":
            if home.is_listening:
                self._listener.hearing(partition)
        elif channel in home.channels and self._map is not None:
            # Nobody has asked for that: the slot has gone elsewhere.
            home.channels.discard(channel)
            self._map.look_soon()
