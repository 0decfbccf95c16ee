"""Servers that are harmed for as long as a context lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

from devstack.embedded import EmbeddedStack


@contextmanager
def frozen(stack: EmbeddedStack, name: str) -> Iterator[None]:
    """The server stands still: connections stay open and nothing answers."""
    stack.component(name).pause()
    try:
        yield
    finally:
        stack.component(name).resume()


@contextmanager
def stopped(stack: EmbeddedStack, name: str) -> Iterator[None]:
    """The server is away."""
    stack.component(name).stop()
    try:
        yield
    finally:
        stack.component(name).start()
