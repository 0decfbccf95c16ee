"""What the kernel keeps for clients: connections to be accepted, and bytes that they have not read."""

from typing import Final

BACKLOG: Final = 65_535
"""The kernel caps it (net.core.somaxconn). Whoever finds it full tries again after 1, 3 and 7 seconds."""
UNREAD_BYTES: Final = 128 * 1024
"""Of a connection, sent and not read; Linux takes twice as much. By itself it takes up to 4 MiB: with 200
clients that read nothing, that is most of what it has for all connections of the machine.
"""
