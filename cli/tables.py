"""Tables on standard output: as wide as the terminal, and never cut off in a pipe."""

import sys

from rich.console import Console, RenderableType
from rich.table import Table

PIPE_COLUMNS = 500


def new_table(*columns: str) -> Table:
    """An empty table without lines around it."""
    return Table(*columns, box=None, header_style="bold", pad_edge=False)


def print_table(table: RenderableType) -> None:
    """Prints a table, or several. Strings in it are plain text, never markup."""
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table, markup=False)
