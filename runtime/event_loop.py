"""Runs a process on uvloop, with the streams that aiokafka and redis-py expect.

What is written to a stream whose connection has just been lost, asyncio's own loop drops; uvloop raises
RuntimeError. Both libraries expect an OSError of a lost connection. A task of theirs that meets that
RuntimeError ends for good: nothing connects, fetches or looks for leaders again, and nobody is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

import uvloop

T = TypeVar("T")

_WRITE: Final = asyncio.StreamWriter.write
_WRITELINES: Final = asyncio.StreamWriter.writelines


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, on a loop of its own. Streams written to after their end raise ConnectionError."""
    asyncio.StreamWriter.write = _write  # type: ignore[method-assign]
    asyncio.StreamWriter.writelines = _writelines  # type: ignore[method-assign]
    return uvloop.run(work)


def _write(self: asyncio.StreamWriter, data: bytes | bytearray | memoryview) -> None:
    try:
        _WRITE(self, data)
    except RuntimeError as error:
        raise ConnectionError(str(error)) from error


def _writelines(self: asyncio.StreamWriter, data: Iterable[bytes | bytearray | memoryview]) -> None:
    try:
        _WRITELINES(self, data)
    except RuntimeError as error:
        raise ConnectionError(str(error)) from error
