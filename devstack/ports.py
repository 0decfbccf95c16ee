"""Ports: picking free ones for tests, and saying clearly which one is taken."""

import os
import socket
from itertools import count as counting
from typing import Final

import psutil

from devstack.errors import PortTakenError
from devstack.settings import HOST

_FIRST: Final = 10_000
_SPAN: Final = 100
_SPANS: Final = 220
"""Below the ports that the kernel gives to outgoing connections; each process looks in a span of its own."""
_turns = counting()


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports that nobody listens on; another process that asks gets others.

    A port is not held after this: what is given out once comes again only when the span is used up.
    """
    start = _FIRST + os.getpid() % _SPANS * _SPAN
    ports: list[int] = []
    while len(ports) < count:
        port = start + next(_turns) % _SPAN
        if _is_free(port):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def require_free(port: int, component: str, variable: str) -> None:
    """Raises PortTakenError, naming port, component and the variable to change, when `port` is in use."""
    with socket.socket() as probe:
        # As the servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            message = (
                f"port {port} for {component} is taken{_holder(port)}: stop that program, or choose another "
                f"port, for example {variable}={free_ports(1)[0]}"
            )
            raise PortTakenError(message) from error


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        # Another user's process: the error is as useful without its name.
        return ""
    return ""
