"""What a person at the terminal sees: prefixed lines, what takes so long, a table when all is up."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from devstack.component import Component
from devstack.settings import OPS
from devstack.spec import NO_ADDRESS, Kind, State
from devstack.trouble import trouble_in

COLOURS = (
    "cyan",
    "magenta",
    "green",
    "yellow",
    "blue",
    "bright_red",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
)


class ConsoleReporter:
    """Prints to standard output; colours only where there is a terminal."""

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self._console = console
        self._width = max(len(name) for name in names)
        self._colour = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}

    def changed(self, component: Component) -> None:
        """Says when a component is ready, has stopped or failed."""
        name, state, task = component.spec.name, component.state, component.spec.kind is Kind.TASK
        took = f"in {component.start_seconds or 0:.1f} s"
        if state is State.READY and task:
            self._say(name, f"done {took}", "bold green")
        elif state is State.READY and component.spec.address != NO_ADDRESS:
            self._say(name, f"ready {took} at {component.spec.address}", "bold green")
        elif state is State.READY:
            self._say(name, f"ready {took}", "bold green")
        elif state is State.STOPPED and not task:
            self._say(name, "stopped", "dim")
        elif state is State.FAILED:
            self._say(name, "failed", "bold red")

    def note(self, component: Component, text: str) -> None:
        """Says what a component is busy with, or what happened to it."""
        self._say(component.spec.name, text, "bold yellow")

    def line(self, name: str, text: str) -> None:
        """Passes on what a component printed."""
        self._print(name, Text.from_ansi(text))

    def table(self, components: Iterable[Component], seconds: float, logs: Path) -> None:
        """The start-up table: component, address, pid, seconds."""
        table = Table("component", "address", "pid", "seconds", box=None, header_style="bold", padding=(0, 2))
        table.columns[2].justify = table.columns[3].justify = "right"
        shown = list(components)
        for each in shown:
            pid = str(each.pid) if each.pid else "-"
            table.add_row(each.spec.name, each.spec.address, pid, f"{each.start_seconds or 0:.1f}")
        self._console.print()
        self._console.print(table)
        self._console.print(
            f"\nReady in {seconds:.1f} s. Logs are in {logs}; Ctrl-C stops everything.\n", highlight=False
        )
        for each in shown:
            if each.spec.name == "gateway":
                self._console.print(f"Open {each.spec.address} in a browser to look around.", highlight=False)
            elif each.spec.name == OPS:
                self._console.print(f"What everything is doing: {each.spec.address}", highlight=False)
        self._console.print()

    def _say(self, name: str, text: str, style: str) -> None:
        self._print(name, Text(text, style=style))

    def _print(self, name: str, text: Text) -> None:
        prefix = Text(f"{name:<{self._width}} | ", style=self._colour[name])
        self._console.print(prefix + text, soft_wrap=True, highlight=False)


class Trouble:
    """Says what a ConsoleReporter says, but of what components print only what has gone wrong."""

    def __init__(self, reporter: ConsoleReporter) -> None:
        self._reporter = reporter

    def changed(self, component: Component) -> None:
        """Says when a component is ready, has stopped or failed."""
        self._reporter.changed(component)

    def note(self, component: Component, text: str) -> None:
        """Says what a component is busy with, or what happened to it."""
        self._reporter.note(component, text)

    def line(self, name: str, text: str) -> None:
        """Passes on a line that tells of trouble."""
        if (trouble := trouble_in(text)) is not None:
            self._reporter.line(name, trouble)


class Milestones:
    """Says when components are ready and what takes so long; what they print is in their logs only."""

    def __init__(self, reporter: ConsoleReporter) -> None:
        self._reporter = reporter

    def changed(self, component: Component) -> None:
        """Says that a component is ready or has failed."""
        if component.state in {State.READY, State.FAILED}:
            self._reporter.changed(component)

    def note(self, component: Component, text: str) -> None:
        """Says what a component is busy with."""
        self._reporter.note(component, text)

    def line(self, name: str, text: str) -> None:
        """Says nothing."""
