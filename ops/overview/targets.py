"""Which processes are known, and where each answers `/metrics` and `/health/ready`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec


class Target(NamedTuple):
    """A process. Without an address it does not run any more: it has taken its file away."""

    name: str
    address: str | None
    is_given: bool
    """Whether the setting names it, which may want a token."""


class _Labels(msgspec.Struct):
    process: str
    worker: str = ""


class _Entry(msgspec.Struct):
    """A part of the file of one process (runtime.targets)."""

    targets: list[str]
    labels: _Labels


_ENTRIES: Final = msgspec.json.Decoder(list[_Entry])


def given(text: str) -> list[Target]:
    """The targets of the setting, `name=http://host:port` or the address alone. Raises ValueError."""
    targets = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, separator, address = part.partition("=")
        if not separator:
            name, address = urlsplit(part).netloc, part
        if not address.startswith(("http://", "https://")) or not urlsplit(address).netloc or not name:
            raise ValueError(f"{part!r} is no address, a right value is gateway=http://127.0.0.1:8000")
        targets.append(Target(name, address.rstrip("/"), is_given=True))
    return targets


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

    Of several with one name the others are called by their address, too.
    """
    found: dict[str, Target] = {}
    for target in now:
        name = f"{target.name} at {target.address}" if target.name in found else target.name
        found[name] = target._replace(name=name)
    gone = {name: target._replace(address=None) for name, target in before.items()}
    return gone | found
