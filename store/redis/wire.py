"""Commands as RESP arrays."""

from collections.abc import Sequence

import hiredis

Argument = bytes | str | float


def pack(command: Sequence[Argument]) -> bytes:
    """The bytes of one command."""
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub says one-tuple
    return packed


def pack_arguments(*arguments: Argument) -> bytes:
    """The bytes of some arguments: `join` makes a command of them, and those that seldom change are kept."""
    packed = pack(arguments)
    return packed[packed.index(b"\n") + 1 :]


def join(count: int, *packed_arguments: bytes) -> bytes:
    """The bytes of a command of `count` arguments in all."""
    return b"*%d\r\n%b" % (count, b"".join(packed_arguments))
