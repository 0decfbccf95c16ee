"""The commands of the runbooks."""

import re
from typing import Final

from tests.alerts.prometheus import ROOT

PAGE: Final = ROOT / "docs" / "how-to" / "runbooks.md"


def sections() -> dict[str, str]:
    """The text of each alert's runbook by the alert's name."""
    found = re.split(r"^## (\w+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def commands(alert: str) -> list[str]:
    """The lines of the blocks of commands in the alert's runbook."""
    blocks = re.findall(r"^```sh\n(.*?)^```", sections()[alert], re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]
