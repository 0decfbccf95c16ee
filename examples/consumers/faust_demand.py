"""A Faust app to copy: which products are in carts, how many carts were ordered, and how many left behind.

    KAFKA_BOOTSTRAP=127.0.0.1:9092 faust -A faust_demand worker --web-port 6066
    curl 127.0.0.1:6066/demand/

Records may come again: each table has one entry for each cart, order or idle period, and the figures are
counted from the entries. So nothing counts twice. Start one worker: each of several answers for the
partitions it has had. A cart counts for good, also once it is deleted. Kill -9 may lose the last entries of
a table: then start with another FAUST_APP, which reads everything again.
"""

import asyncio
import json
import os
from collections import Counter
from typing import Any, Final

import faust

PREFIX: Final = os.environ.get("CARTSTREAM_PREFIX", "")
PARTITIONS: Final = int(os.environ.get("CARTSTREAM_PARTITIONS", "16"))

app = faust.App(
    os.environ.get("FAUST_APP", "shop-demand"),
    broker=f"kafka://{os.environ.get('KAFKA_BOOTSTRAP', '127.0.0.1:9092')}",
    store="memory://",
    topic_partitions=PARTITIONS,
    topic_disable_leader=True,
    table_standby_replicas=0,  # entries of others would be counted, too
    consumer_auto_offset_reset="earliest",
    consumer_metadata_max_age_ms=1000,  # see `until_known`
)


def source(name: str) -> Any:
    """One of the product's topics, as bytes: a tombstone, too, is a record of its own."""
    return app.topic(PREFIX + name, key_serializer="raw", value_serializer="raw")


carts = app.Table("carts-now", partitions=PARTITIONS)
"""By cart: [v, n], and pieces by product."""
orders = app.Table("orders-now", partitions=PARTITIONS)
"""By order: its version, its cart, whether it stands."""
left_behind = app.Table("left-behind", partitions=PARTITIONS)
"""By cart and idle period: whether the cart was taken up again."""


async def until_known(table: Any) -> None:
    """Wait while Faust takes the table's changelog for a topic without partitions: it would pass records by.

    Kafka may say that of a topic that was just made. Faust believes it until it asks again. After five
    minutes it is true, and Faust says what is wrong.
    """
    for _ in range(3000):
        if app.consumer.topic_partitions(table.changelog_topic_name) != 0:
            return
        await asyncio.sleep(0.1)


@app.agent(source("carts"))
async def take_carts(stream: Any) -> None:
    """Keep the newest state of each cart; an older one may follow it."""
    async for event in stream.events():
        await until_known(carts)
        version = next((value for name, value in event.headers.items() if name == "cart_version"), None)
        if event.key is None or event.key.startswith(b"!") or version is None:
            continue
        cart_id = event.key.decode()
        newest = [int(number) for number in version.decode().split("-")[:2]]
        if cart_id in carts and newest < carts[cart_id]["version"]:
            continue
        pieces: Counter[str] = Counter()
        for line in json.loads(event.value)["lines"] if event.value else []:
            pieces[line["product_id"]] += line["quantity"]
        carts[cart_id] = {"version": newest, "pieces": pieces}


@app.agent(source("orders"))
async def take_orders(stream: Any) -> None:
    """Keep the newest version of each order."""
    async for event in stream.events():
        await until_known(orders)
        order = json.loads(event.value)
        if order["version"] > orders.get(order["order_id"], {"version": 0})["version"]:
            stands = order["status"] == "placed"
            orders[order["order_id"]] = {
                "version": order["version"],
                "cart_id": order["cart_id"],
                "stands": stands,
            }


@app.agent(source("cart-abandoned"))
async def take_abandonments(stream: Any) -> None:
    """Note each idle period, and its end."""
    async for event in stream.events():
        await until_known(left_behind)
        told = json.loads(event.value)
        period = f"{told['cart_id']}/{told['version_number']}"
        left_behind[period] = left_behind.get(period, False) or told["type"] == "recovered"


def figures(
    carts: dict[str, Any], orders: dict[str, Any], left_behind: dict[str, bool], most: int = 20
) -> dict[str, Any]:
    """What the tables say. `demand` is the pieces in carts of the products that have `most` of them."""
    demand: Counter[str] = Counter()
    for cart in carts.values():
        demand.update(cart["pieces"])
    ordered = {order["cart_id"] for order in orders.values() if order["stands"]}
    return {
        "demand": dict(demand.most_common(most)),
        "carts": len(carts),
        "orders": sum(order["stands"] for order in orders.values()),
        "carts_ordered": len(ordered),
        "conversion": round(len(ordered) / len(carts), 4) if carts else None,
        "left_behind": len(left_behind),
        "taken_up_again": sum(left_behind.values()),
    }


@app.page("/demand/")
async def demand_page(self: Any, _request: Any) -> Any:
    """The figures of this worker's partitions, as JSON."""
    return self.json(figures(dict(carts.items()), dict(orders.items()), dict(left_behind.items())))
