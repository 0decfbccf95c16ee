"""Ports: free ones for tests, and a clear error for one that cannot be bound."""

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
"""Below the ephemeral ports of the kernel; each process looks in a span of its own."""
_offsets = counting()


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports that are free; other processes get others.

    They are not reserved, but none is returned again until the span is used up.
    """
    start = _FIRST + os.getpid() % _SPANS * _SPAN
    ports: list[int] = []
    while len(ports) < count:
        port = start + next(_offsets) % _SPAN
        if _is_free(port):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    try:
        _bind(port)
    except OSError:
        return False
    return True


def _bind(port: int) -> None:
    with socket.socket() as probe:
        # As the servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))


def require_free(port: int, component: str, variable: str) -> None:
    """Raises PortTakenError, naming port, component and variable, when `port` cannot be bound."""
    try:
        _bind(port)
    except OSError as error:
        message = (
            f"port {port} for {component} cannot be bound{_holder(port)}. Stop the program that uses it, "
            f"or choose another port, for example {variable}={free_ports(1)[0]}"
        )
        raise PortTakenError(message) from error


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" (in use by {psutil.Process(connection.pid).name()}, pid {connection.pid})"
    except psutil.Error:
        # The process of another user: the error is useful without its name.
        return ""
    return ""
