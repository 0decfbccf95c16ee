"""The Faust app to copy counts what is in carts, ordered and left behind, though records come again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from devstack.free_ports import free_ports
from faust_demand import figures
from runtime.settings import KafkaSettings
from tests.support.processes import Process
from tests.support.waiting import until
from topics.partitioner import partition_of
from topics.registry import CART_ABANDONED, CARTS, ORDERS, PARTITIONS

FOLDER = Path(__file__).parents[2] / "examples" / "consumers"

Record = tuple[str, str, dict[str, Any] | None, str]
"""Topic, key, value, and the header `cart_version`."""


def test_the_figures_are_those_of_the_tables() -> None:
    carts = {
        "user:1": {"version": [4, 2], "pieces": {"tea": 2, "jam": 1}},
        "user:2": {"version": [6, 1], "pieces": {"tea": 1}},
        "user:3": {"version": [8, 3], "pieces": {}},
        "user:4": {"version": [8, 3], "pieces": {}},
    }
    orders = {
        "o_1": {"version": 1, "cart_id": "user:3", "stands": True},
        "o_2": {"version": 1, "cart_id": "user:3", "stands": True},
        "o_3": {"version": 2, "cart_id": "user:4", "stands": False},
    }
    assert figures(carts, orders, {"user:2/6": False, "user:1/2": True}, most=1) == {
        "demand": {"tea": 3},
        "carts": 4,
        "orders": 2,
        "carts_ordered": 1,
        "conversion": 0.25,
        "left_behind": 2,
        "taken_up_again": 1,
    }


def cart(cart_id: str, v: int, **pieces: int) -> Record:
    """A state of a cart."""
    lines = [{"product_id": product, "quantity": count} for product, count in pieces.items()]
    return CARTS.name, cart_id, {"lines": lines}, f"{v}-1-000000000000"


def order(order_id: str, cart_id: str, version: int, status: str) -> Record:
    """A version of an order."""
    value = {"order_id": order_id, "cart_id": cart_id, "version": version, "status": status}
    return ORDERS.name, order_id, value, ""


def idle(cart_id: str, version: int, kind: str) -> Record:
    """What is told of a cart that is left behind."""
    return CART_ABANDONED.name, cart_id, {"type": kind, "cart_id": cart_id, "version_number": version}, ""


async def publish(kafka: KafkaSettings, records: Sequence[Record]) -> None:
    """Publish them where they belong."""
    async with AIOKafkaProducer(**kafka.client_options(), acks="all") as producer:
        for topic, key, value, version in records:
            await producer.send_and_wait(
                topic,
                None if value is None else json.dumps(value).encode(),
                key=key.encode(),
                partition=partition_of(key.encode(), PARTITIONS),
                headers=[("cart_version", version.encode())],
            )


class Worker(Process):
    """The app to copy as `faust -A faust_demand worker`."""

    def __init__(self, kafka: KafkaSettings, folder: Path) -> None:
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}/demand/"
        command = ["-m", "faust", "-A", "faust_demand", "-W", str(FOLDER), "--datadir", str(folder)]
        options = ["worker", "-l", "warn", "--web-host", "127.0.0.1", "--web-port", str(port)]
        environment = {
            "KAFKA_BOOTSTRAP": kafka.kafka_bootstrap,
            "FAUST_APP": f"demand-{uuid4().hex[:8]}",
            "PYTHONPATH": str(FOLDER),
        }
        super().__init__("faust-demand", [*command, *options], environment, folder)

    async def until(self, expected: dict[str, Any]) -> None:
        """Wait until its figures are these."""
        seen: dict[str, Any] = {}

        async def are_right() -> bool:
            nonlocal seen
            assert not self.has_ended(), self.tail
            try:
                async with aiohttp.ClientSession() as session, session.get(self._url) as reply:
                    seen = await reply.json() if reply.ok else {}
            except aiohttp.ClientError:
                return False
            return all(seen.get(name) == value for name, value in expected.items())

        try:
            await until(are_right, "the figures", every_s=0.5)
        except AssertionError as error:
            raise AssertionError(f"{seen}, not {expected}\n{self.tail}") from error


@pytest.mark.consumers
@pytest.mark.timeout(400)
async def test_it_counts_nothing_twice_and_goes_on_after_a_stop(kafka: KafkaSettings, tmp_path: Path) -> None:
    mark = uuid4().hex[:8]
    carts = [f"user:{mark}-{number}" for number in range(5)]
    records = [
        cart(carts[0], 10, tea=2, jam=1),
        cart(carts[1], 10, tea=1),
        cart(carts[1], 12, tea=4),
        cart(carts[1], 10, tea=1),
        cart(carts[2], 10),
        cart(carts[3], 10, tea=9),
        (CARTS.name, carts[3], None, "10-1-000000000000"),
        order(f"{mark}-1", carts[2], 1, "placed"),
        order(f"{mark}-2", carts[0], 1, "placed"),
        order(f"{mark}-2", carts[0], 2, "cancelled"),
        order(f"{mark}-2", carts[0], 1, "placed"),
        idle(carts[1], 12, "abandoned"),
        idle(carts[0], 10, "abandoned"),
        idle(carts[0], 10, "recovered"),
        idle(carts[0], 10, "abandoned"),
    ]
    counts: dict[str, Any] = {
        "carts": 4,
        "orders": 1,
        "carts_ordered": 1,
        "left_behind": 2,
        "taken_up_again": 1,
    }
    await publish(kafka, records)
    worker = Worker(kafka, tmp_path)
    try:
        worker.launch()
        await worker.until(counts | {"demand": {"tea": 6, "jam": 1}})
        worker.running.terminate()
        worker.wait()
        await publish(kafka, [*records, cart(carts[4], 10, jam=3)])
        worker.launch()
        await worker.until(counts | {"carts": 5, "demand": {"tea": 6, "jam": 4}})
    finally:
        worker.kill()
