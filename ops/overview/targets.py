"""Which processes are known, and where each answers `/metrics` and `/health/ready`."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

_SUFFIX = ".ready"


class Target(NamedTuple):
    """A process. Without an address it does not do its work: its ready file is gone."""

    name: str
    address: str | None
    is_given: bool
    """Whether the setting names it, which may want a token."""


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
    """The processes on this host that have a ready file in the folder, by its name."""
    if folder is None:
        return []
    targets = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            address = path.read_text(encoding="utf-8").strip()
        except OSError:
            continue  # gone between the two looks
        if address.startswith("http"):
            targets.append(Target(path.name.removesuffix(_SUFFIX), address, is_given=False))
    return targets


def known(now: list[Target], before: dict[str, Target]) -> dict[str, Target]:
    """All targets by name: those that were there before and have gone stay, without an address."""
    gone = {name: target._replace(address=None) for name, target in before.items()}
    return gone | {target.name: target for target in now}
