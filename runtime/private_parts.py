"""What the project uses of a library that the library calls private: named in one module a library.

An upgrade may take such a part away without a word. `missing` has the word.
"""

import dis
import inspect
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from types import ModuleType
from typing import Any, NamedTuple


class PrivatePart(NamedTuple):
    """A method, an attribute that an instance has once it is made, or a name in a module."""

    owner: type[Any] | ModuleType
    name: str
    needed_to: str
    parameters: tuple[str, ...] | None = None
    """Of a method that is overridden or called by name, besides `self`."""


def missing(distribution: str, parts: Iterable[PrivatePart]) -> list[str]:
    """A sentence for each part that the installed version of the distribution lacks, or has otherwise."""
    return list(_missing(f"{distribution} {version(distribution)}", parts))


def _missing(library: str, parts: Iterable[PrivatePart]) -> Iterator[str]:
    for part in parts:
        if isinstance(part.owner, ModuleType):
            if not hasattr(part.owner, part.name):
                full_name = f"{part.owner.__name__}.{part.name}"
                yield f"{library} has no {full_name} any more, which is used to {part.needed_to}"
            continue
        full_name = f"{part.owner.__module__}.{part.owner.__qualname__}.{part.name}"
        is_there = any(part.name in vars(base) for base in part.owner.__mro__)
        if not is_there and not _is_set_when_made(part.owner, part.name):
            yield f"{library} has no {full_name} any more, which is used to {part.needed_to}"
        elif part.parameters is not None:
            takes = tuple(inspect.signature(getattr(part.owner, part.name)).parameters)[1:]
            if takes != part.parameters:
                yield (
                    f"{full_name} of {library} takes {', '.join(takes) or 'nothing'}, no longer "
                    f"{', '.join(part.parameters) or 'nothing'}: it is used to {part.needed_to}"
                )


def _is_set_when_made(owner: type[Any], name: str) -> bool:
    methods = [each for base in owner.__mro__ for each in vars(base).values() if inspect.isfunction(each)]
    # Not all are set in __init__ itself, but by what it calls.
    return any(
        step.opname == "STORE_ATTR" and step.argval == name
        for method in methods
        if name in method.__code__.co_names
        for step in dis.get_instructions(method)
    )
