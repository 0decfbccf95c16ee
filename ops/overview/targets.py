"""Which processes are known, and where each answers `/metrics` and `/health/ready`."""

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

_ALL: Final = "dns+"
"""Before an address: whatever its name leads to is a process of its own, as in Thanos."""
_WITHIN_S: Final = 2.0


class Target(NamedTuple):
    """A process. Without an address it does not run any more: it has taken its file away."""

    name: str
    address: str | None
    is_given: bool
    """Whether the setting names it, which may want a token."""
    is_resolved: bool = False
    """Whether its host's name is resolved: it stands for all that it leads to, or is one of those."""


class _Labels(msgspec.Struct):
    process: str
    worker: str = ""


class _Entry(msgspec.Struct):
    """A part of the file of one process (runtime.targets)."""

    targets: list[str]
    labels: _Labels


_ENTRIES: Final = msgspec.json.Decoder(list[_Entry])


def given(text: str) -> list[Target]:
    """The targets of the setting, `name=http://host:port` or the address alone. Raises ValueError.

    Those whose address begins with `dns+` stand for all that `resolved` finds.
    """
    targets = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, separator, address = part.partition("=")
        if not separator:
            name, address = urlsplit(part).netloc, part
        is_resolved = address.startswith(f"{_ALL}http://")
        address = address.removeprefix(_ALL) if is_resolved else address
        if not name or not _is_address(address):
            raise ValueError(f"{part!r} is no address, a right value is gateway=http://127.0.0.1:8000")
        targets.append(Target(name, address.rstrip("/"), is_given=True, is_resolved=is_resolved))
    return targets


async def resolved(target: Target) -> list[Target]:
    """The processes that the host's name leads to, called `name (address)`; of other targets, itself.

    It is looked up each time, for pods come and go. A name that leads nowhere is left as it is: whoever asks
    it gets no answer.
    """
    if not target.is_resolved or target.address is None:
        return [target]
    url = urlsplit(target.address)
    try:
        async with asyncio.timeout(_WITHIN_S):
            answers = await asyncio.get_running_loop().getaddrinfo(
                url.hostname, url.port, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError, UnicodeError):
        return [target]
    return [
        target._replace(
            name=f"{target.name} ({host})", address=url._replace(netloc=_netloc(host, url.port)).geturl()
        )
        for host in sorted({str(answer[4][0]) for answer in answers})
    ]


def found(folder: Path | None) -> list[Target]:
    """The processes that say in the folder where they serve their metrics, called `process (worker)`."""
    if folder is None:
        return []
    targets = []
    for path in sorted(folder.glob("*.json")):
        try:
            entries = _ENTRIES.decode(path.read_bytes())
        except (OSError, msgspec.MsgspecError):
            continue  # gone between the two looks, or somebody else's
        for entry in entries:
            process, worker = entry.labels.process, entry.labels.worker
            name = f"{process} ({worker})" if worker else process
            targets += [Target(name, f"http://{authority}", is_given=False) for authority in entry.targets]
    return targets


def known(now: Iterable[Target], before: dict[str, Target]) -> dict[str, Target]:
    """All targets by name: those that were there before and have gone stay, without an address.

    Of several with one name the others are called by their address, too. Those of a name in the DNS are
    forgotten: a pod that is replaced has another address.
    """
    found: dict[str, Target] = {}
    for target in now:
        name = f"{target.name} at {target.address}" if target.name in found else target.name
        found[name] = target._replace(name=name)
    gone = {name: target._replace(address=None) for name, target in before.items() if not target.is_resolved}
    return gone | found


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _netloc(host: str, port: int | None) -> str:
    text = f"[{host}]" if ":" in host else host
    return text if port is None else f"{text}:{port}"
