"""The ports that servers of tests get."""

import socket

from devstack.free_ports import free_ports
from devstack.settings import HOST

SPAN = 100


def test_a_port_whose_connections_have_ended_is_free() -> None:
    """Otherwise a span is used up by servers that were killed, and two servers get its last port."""
    (port,) = free_ports(1)
    with socket.create_server((HOST, port)) as server, socket.create_connection((HOST, port)) as client:
        connection, _ = server.accept()
        connection.close()  # who closes first has TIME_WAIT
        assert client.recv(1) == b""
    assert any(free_ports(1) == [port] for _ in range(SPAN))
