"""Commands as RESP arrays."""

from collections.abc import Sequence

import hiredis

Argument = bytes | str | float


def pack(command: Sequence[Argument]) -> bytes:
    """The bytes of one command."""
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub says one-tuple
    return packed
