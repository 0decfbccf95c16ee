"""Named SQL: the queries of a package's `queries.sql`, each under a line `-- name`."""

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString

_NAME: Final = re.compile(r"^-- ([a-z_]+)\n", re.MULTILINE)


def queries_of(package: str) -> Callable[[str], LiteralString]:
    """A function that returns the SQL called by a name; KeyError for a name that is not in the file."""

    def query(name: str) -> LiteralString:
        return _queries(package)[name]

    return query


@cache
def _queries(package: str) -> dict[str, LiteralString]:
    text = files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    _head, *parts = _NAME.split(text)
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}
