"""The part of requirements.lock that the processes need: `requirements.py pyproject.toml requirements.lock`.

The lock is for all extras. What of it the dependencies without extras bring follows from its comments
(`# via`), so that there is one lock and the image is built of the versions that are tested. `--with NAME`
adds a package.
"""

import argparse
import re
import tomllib
from pathlib import Path


def normalised(requirement: str) -> str:
    """The name in a requirement, as it is compared: `psycopg[binary]>=3` is psycopg."""
    return (
        re.split(r"[\[<>=!~;\s]", requirement.strip(), maxsplit=1)[0]
        .lower()
        .replace("_", "-")
        .replace(".", "-")
    )


def blocks(lock: str) -> dict[str, tuple[str, set[str]]]:
    """By name: the lines of the lock, and the names of the packages that brought it."""
    found = {}
    for block in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]:
        comment = block.partition("# via")[2]
        brought_by = {normalised(line.strip(" #")) for line in comment.splitlines() if line.strip(" #")}
        found[normalised(block)] = (block, brought_by)
    return found


def needed(lock: str, wanted: set[str]) -> str:
    """The blocks of the wanted packages and of all that they bring."""
    found = blocks(lock)
    if missing := wanted - set(found):
        raise SystemExit(
            f"requirements.lock lacks {', '.join(sorted(missing))}: renew it, see its first lines"
        )
    names: set[str] = set()
    more = wanted
    while more:
        names |= more
        more = {name for name, (_, brought_by) in found.items() if brought_by & more} - names
    return "".join(found[name][0] for name in sorted(names))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pyproject", type=Path)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--with", dest="extra", action="append", default=[], metavar="NAME")
    chosen = parser.parse_args()
    project = tomllib.loads(chosen.pyproject.read_text())["project"]
    wanted = {normalised(requirement) for requirement in project["dependencies"]}
    print(needed(chosen.lock.read_text(), wanted | {normalised(name) for name in chosen.extra}), end="")
