"""What `cartstream up` shows of the lines that its components print."""

import pytest

from devstack.trouble import trouble_in


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"message":"process.starting","level":"info","settings":{"a":1}}', None),
        (
            '{"message":"gateway.open","level":"warning","mode":"development"}',
            "gateway.open mode=development",
        ),
        (
            '{"message":"agent.failed","level":"error","agent":"x","exception":"Trace\\n  a\\nKeyError: 1"}',
            "agent.failed agent=x (KeyError: 1)",
        ),
        ('{"level":"error"}', ""),
        ("[1, 2]", None),
        ("LOG:  database system is ready to accept connections", None),
        ("FATAL:  the database system is starting up", "FATAL:  the database system is starting up"),
        ("2026-11-28 ERROR kafka.server: disk full", "2026-11-28 ERROR kafka.server: disk full"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("# WARNING Memory overcommit must be enabled!", None),
        ("", None),
    ],
)
def test_trouble_is_shown_in_short_and_nothing_else(line: str, shown: str | None) -> None:
    assert trouble_in(line) == shown


def test_a_long_line_is_cut() -> None:
    told = trouble_in("ERROR " + "x" * 1000)
    assert told is not None
    assert (len(told), told[-1]) == (300, "…")
