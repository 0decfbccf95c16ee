"""What a supervisor and its worker tell each other, over a socket that is the worker's stdin."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, Self

SUPERVISED: Final = "CARTSTREAM_SUPERVISED"
"""Set by a supervisor for its workers: their stdin is the link to it. No setting."""

READY: Final = b"+"
"""What a worker sends once it does its work."""
PREPARED: Final = b"="
"""What a worker sends that waits for its turn: it has loaded everything."""


class Command(bytes, Enum):
    """What a supervisor tells a worker."""

    WORK = b"w"
    """It is your turn: the one before you has ended."""
    LEAVE = b"l"
    """Stop for good, gently: nobody takes your place."""
    RETIRE = b"r"
    """Stop gently: another one takes your place."""
    STOP = b"s"
    """Stop now: cut the gentle part short."""


def is_supervised() -> bool:
    """Whether a supervisor has started this process."""
    return SUPERVISED in os.environ


class SupervisorLink:
    """A worker's end of the socket."""

    def __init__(self, commands: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        self._commands = commands
        self._answers = answers

    @classmethod
    async def open(cls) -> Self:
        """The link of this process; its stdin is the supervisor's socket."""
        sock = socket.socket(fileno=os.dup(sys.stdin.fileno()))
        return cls(*await asyncio.open_connection(sock=sock))

    def prepared(self) -> None:
        """Tell the supervisor that this worker waits for its turn."""
        self._answers.write(PREPARED)

    def ready(self) -> None:
        """Tell the supervisor that this worker does its work."""
        self._answers.write(READY)

    async def obey(self, actions: Mapping[Command, Callable[[], None]]) -> None:
        """Do what the supervisor says until it is dead; then retire, as the next one starts new workers."""
        try:
            while command := await self._commands.read(1):
                actions[Command(command)]()
        except ConnectionError:
            pass
        actions[Command.RETIRE]()
