"""Cuts work into pieces."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def pieces(whole: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The sequence in pieces of `size`, the last one shorter."""
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
