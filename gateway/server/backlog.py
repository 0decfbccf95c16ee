"""How many connections may wait to be accepted."""

from typing import Final

BACKLOG: Final = 1024
"""The kernel caps it (net.core.somaxconn)."""
