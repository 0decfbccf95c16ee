"""Named SQL: the queries of `sql/<name>.sql`, each under a line `-- query_name`."""

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString

_NAME: Final = re.compile(r"^-- ([a-z_]+)\n", re.MULTILINE)


def queries_of(file: str) -> Callable[[str], LiteralString]:
    """A function that returns the SQL called by a name in `sql/<file>.sql`; KeyError for another name."""

    def query(name: str) -> LiteralString:
        return _queries(file)[name]

    return query


@cache
def _queries(file: str) -> dict[str, LiteralString]:
    text = files(__package__).joinpath("sql", f"{file}.sql").read_text(encoding="utf-8")
    _head, *parts = _NAME.split(text)
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}
