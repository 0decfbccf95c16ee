"""Texts of others on a terminal: they neither move the cursor nor turn what stands beside them around."""

import re
from typing import Final

_UNSAFE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for tabs and ends of lines, and marks of the direction of text."""


def harmless(text: str) -> str:
    r"""The text with control characters and marks of direction as JSON writes them, such as `\u001b`."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
