"""One of several gateway processes that share a listening socket; its supervisor talks to it through stdin.

`python -m gateway.server.worker FD` is what gateway.server.supervisor starts.
"""

import asyncio
import os
import signal
import socket
import sys

import uvloop

from gateway.app import create_app
from gateway.bootstrap import Container
from gateway.server.serving import Server
from gateway.server.supervisor import READY, Command
from gateway.settings import GatewaySettings
from runtime.logs import configure_logging
from runtime.settings import load


def run(descriptor: int) -> None:
    """Serve on the inherited socket until the supervisor tells it to stop, or dies."""
    configure_logging()
    uvloop.run(_work(socket.socket(fileno=descriptor), socket.socket(fileno=os.dup(sys.stdin.fileno()))))


async def _work(listener: socket.socket, supervisor: socket.socket) -> None:
    container = Container.build(load(GatewaySettings))
    server = Server(create_app(container), container.settings, container.health)
    loop = asyncio.get_running_loop()
    # Both may have gone to the whole process group: the supervisor decides what they mean.
    loop.add_signal_handler(signal.SIGINT, server.drain)
    loop.add_signal_handler(signal.SIGTERM, server.drain)
    commands, answers = await asyncio.open_connection(sock=supervisor)
    obeying = loop.create_task(_obey(commands, server))
    await server.run(listener, lambda: answers.write(READY))
    obeying.cancel()


async def _obey(commands: asyncio.StreamReader, server: Server) -> None:
    actions = {Command.DRAIN: server.drain, Command.RETIRE: server.retire, Command.STOP: server.stop}
    while command := await commands.read(1):
        actions[Command(command)]()
    # The supervisor is dead: leave the port to the next one.
    server.retire()


if __name__ == "__main__":
    run(int(sys.argv[1]))
