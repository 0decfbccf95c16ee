"""Which members of a reply are always there: a default of a Struct is sent like any other value.

In a request a member with a default may be left out, and so says the schema of its Struct. Of a reply that is
wrong: its reader would have to ask for what always comes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

import msgspec

Structs = type[msgspec.Struct]


def always_sent(replies: Iterable[Structs], requests: Iterable[Structs]) -> Mapping[str, dict[str, Any]]:
    """What to add to the schemas of the Structs that replies have and requests do not, by their names."""
    asked = _with_parts(requests)
    return {
        struct.__name__: {"required": required}
        for struct in _with_parts(replies) - asked
        if (required := _always_sent(struct))
    }


def _with_parts(structs: Iterable[Structs]) -> set[Structs]:
    found: set[Structs] = set()
    left = list(structs)
    while left:
        struct = left.pop()
        if struct not in found:
            found.add(struct)
            left += [part for field in msgspec.structs.fields(struct) for part in _structs_in(field.type)]
    return found


def _structs_in(annotation: Any) -> Iterator[Structs]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for argument in get_args(annotation):
        yield from _structs_in(argument)


def _always_sent(struct: Structs) -> list[str]:
    """Members by the names they are sent under; what is UNSET is not sent, nor a default that is omitted."""
    config = struct.__struct_config__
    return [
        *([config.tag_field] if config.tag_field else ()),
        *(
            field.encode_name
            for field in msgspec.structs.fields(struct)
            if field.required or not (config.omit_defaults or field.default is msgspec.UNSET)
        ),
    ]
