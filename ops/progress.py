"""Progress bars on standard error, so that standard output stays the result."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int], None]
"""Called with how many more are done."""

Bars = Callable[[str, int], Advance]
"""Makes a progress bar from a title and a total."""


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars that are shown until the end of the block."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # The result is what stays; and a file or a pipe needs no bars.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:

        def bar(what: str, total: int) -> Advance:
            task = shown.add_task(what, total=total)
            return lambda done: shown.update(task, advance=done)

        yield bar


def silent(_what: str, _total: int) -> Advance:
    """No bar."""
    return lambda _done: None
