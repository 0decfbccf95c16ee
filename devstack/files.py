"""Where the embedded stack's own files and its packages are."""

from importlib.util import find_spec
from pathlib import Path

from devstack.errors import MissingProgramError

SERVERS = Path(__file__).with_name("servers")
"""Settings files of the servers, with places for ports and folders."""


def find_package(name: str) -> Path:
    """The folder of an installed package. Raises MissingProgramError saying how to install it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingProgramError(
            f"the package {name} is not installed: run `make setup` (or: pip install -e '.[local]')"
        )
    return Path(spec.submodule_search_locations[0])
