"""A worker of Kafka Connect with the connector to copy, and the tables that it writes."""

import re
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import stamina
from psycopg import sql

from devstack.free_ports import free_ports
from devstack.kafka import java_command
from tests.examples.maven import jars_of
from tests.support.processes import Process
from tests.support.waiting import PATIENCE_S

FOLDER: Final = Path(__file__).parents[2] / "examples" / "consumers" / "connect"
PROGRAM: Final = "org.apache.kafka.connect.cli.ConnectStandalone"
WORKER: Final = "worker.properties"
CONNECTOR: Final = "carts-to-postgres.properties"
HASTE: Final = "consumer.session.timeout.ms=6000\nconsumer.heartbeat.interval.ms=2000\n"
"""The broker soon notices that a worker was killed."""
RESTART: Final = "{}/restart?includeTasks=true&onlyFailed=true"

Row = tuple[Any, ...]
"""Columns of `carts_now`: version, status, currency, total, cart."""


class Warehouse:
    """A database with the tables to copy."""

    def __init__(self, url: str) -> None:
        self._url: Final = url
        with psycopg.connect(url) as connection:
            connection.execute((FOLDER / "carts_now.sql").read_bytes())
            info = connection.info
            self.properties: Final = {
                "connection.url": f"jdbc:postgresql://{info.host}:{info.port}/{info.dbname}",
                "connection.username": info.user,
                "connection.password": info.password,
            }

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query; waits for a Postgres that is away for a moment."""
        retries = stamina.retry_context(
            psycopg.OperationalError, attempts=None, timeout=PATIENCE_S, wait_max=0.5
        )
        for attempt in retries:
            with attempt, psycopg.connect(self._url) as connection:
                found = connection.execute(query.encode()).fetchall()
        return found

    def rename(self, table: str, name: str) -> None:
        """Rename a table."""
        with psycopg.connect(self._url) as connection:
            names = (sql.Identifier(table), sql.Identifier(name))
            connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(*names))

    def rows(self) -> dict[str, Row]:
        """The rows of the carts that there are, by cart id."""
        found = self.ask("SELECT cart_id, version, status, currency, total, cart FROM carts_now")
        return {cart_id: tuple(columns) for cart_id, *columns in found}

    def deleted(self) -> set[str]:
        """The ids of carts that were deleted."""
        return {cart_id for (cart_id,) in self.ask("SELECT cart_id FROM carts_received WHERE cart IS NULL")}


class ConnectWorker(Process):
    """Kafka Connect on its own, with the connector."""

    def __init__(self, kafka_bootstrap: str, topic: str, warehouse: Warehouse, folder: Path) -> None:
        (port,) = free_ports(1)
        address = f"http://127.0.0.1:{port}"
        self._connector: Final = f"{address}/connectors/carts-to-postgres"
        worker = {
            "bootstrap.servers": kafka_bootstrap,
            "plugin.path": str(jars_of("debezium-jdbc", "unpack-dependencies")),
            "listeners": address,
            "offset.storage.file.filename": str(folder / "offsets"),
        }
        (folder / WORKER).write_text(with_values(WORKER, worker) + HASTE)
        (folder / CONNECTOR).write_text(with_values(CONNECTOR, {"topics": topic, **warehouse.properties}))
        files = (str(folder / WORKER), str(folder / CONNECTOR))
        java, *words = java_command(jars_of("connect"), PROGRAM, *files)
        super().__init__("connect", words, {}, folder, program=java)

    def failures(self) -> list[str]:
        """Why tasks have ended, for each that has; nothing while the worker starts."""
        assert not self.has_ended(), self.tail
        try:
            answer = httpx.get(f"{self._connector}/status", timeout=PATIENCE_S)
        except httpx.TransportError:
            return []
        tasks = answer.json()["tasks"] if answer.is_success else []
        return [task["trace"] for task in tasks if task["state"] == "FAILED"]

    def assert_no_failure(self) -> None:
        """Neither the worker nor a task has ended."""
        failures = self.failures()
        assert not failures, failures

    def restart_what_failed(self) -> None:
        """Start tasks again that have ended, as whoever watches the worker does."""
        if self.failures():
            httpx.post(RESTART.format(self._connector), timeout=PATIENCE_S).raise_for_status()


def with_values(name: str, values: dict[str, str]) -> str:
    """A file of properties to copy, with these values in it."""
    text = (FOLDER / name).read_text()
    for key, value in values.items():
        (line,) = re.findall(rf"^{re.escape(key)}=.*$", text, re.MULTILINE)
        text = text.replace(line, f"{key}={value}")
    return text


def has_changed(connect: ConnectWorker, warehouse: Warehouse, before: dict[str, Row]) -> bool:
    """Whether the connector has written anything since."""
    connect.assert_no_failure()
    return warehouse.rows() != before
