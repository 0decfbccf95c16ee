"""Short texts that people enter, such as options and addresses: they stay in their line wherever shown."""

import re
from typing import Final

_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters, separators of lines and paragraphs, and what turns the direction of the text around.
Joiners stay: words of several scripts need them."""
_CONTROL: Final = re.compile(f"[{_CONTROLS}]")
PRINTABLE: Final = f"[^{_CONTROLS}]*"
"""What a whole text without any of them matches, for descriptions of it."""


def has_control_characters(text: str) -> bool:
    """Whether the text could begin another line, or change how what stands beside it is read."""
    return _CONTROL.search(text) is not None
