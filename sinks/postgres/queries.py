"""The named SQL of queries.sql."""

import re
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString

_NAME: Final = re.compile(r"^-- ([a-z_]+)\n", re.MULTILINE)


@cache
def query(name: str) -> LiteralString:
    """The SQL called `name`; KeyError for a name that is not in the file."""
    return _queries()[name]


@cache
def _queries() -> dict[str, LiteralString]:
    text = files(__package__).joinpath("queries.sql").read_text(encoding="utf-8")
    _head, *parts = _NAME.split(text)
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}
