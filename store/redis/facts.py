"""What a server says about itself. Managed ones do not tell everything, or refuse INFO altogether."""

import asyncio
from typing import Any

from store.redis import answers
from store.redis.errors import StoreBroken
from store.redis.memory import memory_of
from store.redis.node import Node
from store.redis.results import ServerFacts


async def facts_of(node: Node) -> ServerFacts:
    """What this server says. Raises StoreError if it does not answer."""
    told, hello, now = await asyncio.gather(
        _or_nothing(node, b"INFO"), _or_nothing(node, b"HELLO"), node.execute(b"TIME")
    )
    fields = {} if told is None else answers.info(told)
    greeting = {} if hello is None else hello
    memory = memory_of(fields)
    return ServerFacts(
        address=node.address,
        version=fields.get("valkey_version") or fields.get("redis_version") or _text(greeting, b"version"),
        role=fields.get("role") or _text(greeting, b"role"),
        loading=fields.get("loading") == "1",
        maxmemory_policy=fields.get("maxmemory_policy"),
        maxmemory=memory.bound,
        used_memory=memory.used,
        aof_enabled=None if (aof := fields.get("aof_enabled")) is None else aof == "1",
        time_us=answers.microseconds(now),
    )


async def _or_nothing(node: Node, command: bytes) -> Any:
    """The answer; None where the server refuses it."""
    try:
        return await node.execute(command)
    except StoreBroken:
        return None


def _text(greeting: dict[bytes, Any], field: bytes) -> str:
    value = greeting.get(field, b"")
    return value.decode() if isinstance(value, bytes) else str(value)
