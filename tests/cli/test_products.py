"""`cartstream products`: the sample once, and files of any length."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from devstack.free_ports import free_ports
from devstack.settings import KAFKA, REDIS
from ops.products import lines_in
from ops.sample import sample_products
from tests.support.processes import INTERNAL, GatewayProcess
from tests.support.servers import Servers

CUP = {"name": "Cup", "unit_price": 1450, "currency": "EUR"}


@pytest.fixture
def gateway(servers: Servers, database: str, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway over that database."""
    environment = {
        "CARTSTREAM_KAFKA_BOOTSTRAP": servers.url(KAFKA),
        "CARTSTREAM_REDIS_URL": servers.url(REDIS),
        "CARTSTREAM_POSTGRES_URL": database,
        **INTERNAL,
    }
    process = GatewayProcess(environment, tmp_path)
    process.start()
    yield process
    process.kill()


def cartstream(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", "products", *args],
        env={**os.environ, **INTERNAL, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def kept(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        return [name for (name,) in connection.execute("SELECT product_id FROM products ORDER BY 1")]


def test_the_sample_is_put_once_with_its_records(database: str) -> None:
    first = cartstream("sample", CARTSTREAM_POSTGRES_URL=database)
    assert (first.returncode, first.stdout) == (0, "24 products put\n"), first.stderr
    assert kept(database) == sorted(product.product_id for product in sample_products())
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (24,)
        connection.execute("DELETE FROM products WHERE product_id <> 'kettle'")
    again = cartstream("sample", CARTSTREAM_POSTGRES_URL=database)
    assert (again.returncode, again.stdout) == (0, "nothing to do: there are products already\n")
    assert kept(database) == ["kettle"]


def test_a_stack_without_a_catalogue_has_no_sample(database: str) -> None:
    ended = cartstream(
        "sample",
        CARTSTREAM_POSTGRES_URL=database,
        CARTSTREAM_PRODUCTS_OWNER="caller",
        CARTSTREAM_ORDERS_OWNER="external",
    )
    assert (ended.returncode, kept(database)) == (0, [])
    assert "nothing to do" in ended.stdout


def test_a_lost_topic_is_filled_from_postgres(database: str) -> None:
    cartstream("sample", CARTSTREAM_POSTGRES_URL=database)
    with psycopg.connect(database) as connection:
        sent = connection.execute("SELECT key, value FROM outbox ORDER BY key").fetchall()
        connection.execute("DELETE FROM outbox")
    ended = cartstream("publish", CARTSTREAM_POSTGRES_URL=database)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("24 products are on their way")
    with psycopg.connect(database) as connection:
        again = connection.execute("SELECT key, value FROM outbox ORDER BY key").fetchall()
    assert again == sent


def test_a_file_is_imported_and_its_wrong_lines_are_named(
    gateway: GatewayProcess, database: str, tmp_path: Path
) -> None:
    lines = [json.dumps({"product_id": f"sku-{number:04}", **CUP}) for number in range(2000)]
    lines[41] = json.dumps({"product_id": "sku-0041", **CUP, "currency": "euro"})
    file = tmp_path / "products.ndjson"
    file.write_text("\n".join(lines))
    ended = cartstream("import", str(file), "--url", gateway.url)
    assert ended.returncode == 1
    assert "line 42: /currency is no ISO 4217 code" in ended.stderr
    assert ended.stdout.startswith(
        "2000 lines, 1999 products taken (1999 new or changed), 1 lines with errors"
    )
    assert len(kept(database)) == 1999

    lines[41] = json.dumps({"product_id": "sku-0041", **CUP})
    file.write_text("\n".join(lines))
    ended = cartstream("import", str(file), "--url", gateway.url)
    assert ended.returncode == 0, ended.stderr
    assert "2000 products taken (1 new or changed), 0 lines with errors" in ended.stdout


def test_what_was_exported_is_imported_unless_it_has_changed_since(
    gateway: GatewayProcess, database: str, tmp_path: Path
) -> None:
    cartstream("sample", CARTSTREAM_POSTGRES_URL=database)
    file = tmp_path / "products.ndjson"
    ended = cartstream("export", str(file), CARTSTREAM_POSTGRES_URL=database)
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["product_id"] for line in lines] == kept(database)
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE products SET stock = 1, version = version + 1000 WHERE product_id = 'kettle'"
        )

    edited = [{**line, "unit_price": line["unit_price"] + 1} for line in lines]
    file.write_text("\n".join(json.dumps(line) for line in edited))
    ended = cartstream("import", str(file), "--url", gateway.url)
    assert ended.returncode == 1
    assert ended.stdout.startswith("24 lines, 23 products taken (23 new or changed), 1 lines with errors")
    number = 1 + [line["product_id"] for line in lines].index("kettle")
    assert f"line {number}: /if_version is " in ended.stderr

    plain = cartstream("export", "--unconditional", CARTSTREAM_POSTGRES_URL=database)
    kettle = next(
        line for line in map(json.loads, plain.stdout.splitlines()) if line["product_id"] == "kettle"
    )
    assert (kettle["stock"], "if_version" in kettle) == (1, False)


@pytest.mark.parametrize(("content", "lines"), [("", 0), ("a", 1), ("a\n", 1), ("a\n\nb", 3)])
def test_progress_ends_with_the_last_line(content: str, lines: int, tmp_path: Path) -> None:
    file = tmp_path / "products.ndjson"
    file.write_text(content)
    assert lines_in(file) == lines


def test_a_gateway_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "products.ndjson"
    file.write_text(json.dumps({"product_id": "sku", **CUP}))
    ended = cartstream("import", str(file), "--url", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert ended.returncode == 1
    assert "Error: the gateway at" in ended.stderr
    assert "Traceback" not in ended.stderr
