"""Tables on standard output: as wide as the terminal, and never cut off in a pipe."""

import sys

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table

from ops.terminal import harmless

PIPE_COLUMNS = 500


class Plain:
    """What it shows is plain text: strings are never markup, and control characters can be seen."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The segments of what is shown; rich's own control codes are none of its text."""
        for segment in console.render(self._shown, options.update(markup=False)):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))


def new_table(*columns: str) -> Table:
    """An empty table without lines around it."""
    return Table(*columns, box=None, header_style="bold", pad_edge=False)


def print_table(table: RenderableType) -> None:
    """Prints a table, or several, as plain text."""
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(Plain(table))
