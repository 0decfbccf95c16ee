"""Numbers in free-form JSON: which of them take the same room, and stay the same number, in every store."""

from typing import Any, Final

LEAST: Final = 1e-9
BEYOND: Final = 1e16
"""Postgres writes a number out where JSON has an exponent: 1e308, five bytes, comes back as 309 digits. And
from here on a fraction comes back as an integer."""
ADVICE: Final = "fractions, and numbers with an exponent, from 1e-9 to below 1e16, or as a string"


def keeps_its_size(value: Any) -> bool:
    """Whether every fraction in decoded JSON is one that stores keep as it is; integers always are."""
    match value:
        case float():
            return value == 0 or LEAST <= abs(value) < BEYOND
        case dict():
            return all(keeps_its_size(member) for member in value.values())
        case list():
            return all(keeps_its_size(member) for member in value)
        case _:
            return True


def without_negative_zeros(value: Any) -> Any:
    """The value with 0.0 for each -0.0: jsonb knows no other, so this is what every store has."""
    match value:
        case float():
            return value + 0.0
        case dict():
            return {name: without_negative_zeros(member) for name, member in value.items()}
        case list():
            return [without_negative_zeros(member) for member in value]
        case _:
            return value
