"""The table `carts` is read and written in one place."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PRODUCT = ("benchmarks", "cli", "delivery", "gateway", "jobs", "ops", "sinks", "store", "streams", "topics")
SQL = re.compile(r"\b(FROM|INTO|UPDATE|JOIN|USING|TABLE)\s+carts\b|'carts'::")


def test_no_python_file_has_sql_on_carts() -> None:
    files = [file for package in PRODUCT for file in (ROOT / package).rglob("*.py")]
    assert files
    found = [str(file.relative_to(ROOT)) for file in files if SQL.search(file.read_text())]
    assert not found, f"call store.postgres.carts instead, whose SQL is in sql/carts.sql: {found}"
