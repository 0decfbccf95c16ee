"""Ports: picking free ones for tests, and saying clearly which one is taken."""

import socket
from contextlib import ExitStack

import psutil

from cli.stack.errors import PortTakenError
from cli.stack.settings import HOST


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports that nobody listened on a moment ago."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


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
