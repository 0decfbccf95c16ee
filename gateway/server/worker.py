"""One of several gateway processes that share a listening socket; its supervisor talks to it through stdin.

`python -m gateway.server.worker FD` is what gateway/server/supervisor.py starts.
"""

import asyncio
import signal
import socket
import sys

from gateway.app import create_app
from gateway.bootstrap import Container
from gateway.server.serving import Server
from gateway.settings import PROCESS, GatewaySettings
from runtime import event_loop, tracing
from runtime.logs import configure_logging
from runtime.settings import load
from runtime.supervision.link import Command, SupervisorLink


def run(descriptor: int) -> None:
    """Serve on the inherited socket until the supervisor tells it to stop, or dies."""
    settings = load(GatewaySettings)
    configure_logging(PROCESS, settings)
    tracing.start(PROCESS)
    event_loop.run(_work(settings, socket.socket(fileno=descriptor)))


async def _work(settings: GatewaySettings, listener: socket.socket) -> None:
    container = Container.build(settings)
    server = Server(create_app(container), settings, container.health)
    loop = asyncio.get_running_loop()
    # Both may have gone to the whole process group: the supervisor decides what they mean.
    loop.add_signal_handler(signal.SIGINT, server.drain)
    loop.add_signal_handler(signal.SIGTERM, server.drain)
    link = await SupervisorLink.open()
    actions = {Command.LEAVE: server.drain, Command.RETIRE: server.retire, Command.STOP: server.stop}
    obeying = loop.create_task(link.obey(actions))
    await server.run(listener, link.ready)
    obeying.cancel()


if __name__ == "__main__":
    run(int(sys.argv[1]))
