"""The consumer to copy, which begins while carts change, finds what stands in `carts`."""

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from carts.operations import Add, Change, Clear, Item, Remove, Set, SetMetadata, Step
from runtime.settings import KafkaSettings
from tests.examples.shown import shown_by_both
from tests.examples.sqlite_consumer import Consumer
from tests.streams.conftest import Shopper, Topics
from tests.support.processes import AgentProcess


def some_step(dice: random.Random) -> Step:
    line_id = f"sku-{dice.randrange(4)}"
    item = Item(line_id)
    price = dice.randrange(100, 999)
    metadata = dice.choice([None, {}, {"note": dice.randrange(9)}])
    steps: list[Step] = [
        Add(line_id, dice.randrange(1, 5), price, "EUR", item, metadata),
        Set(line_id, dice.randrange(1, 9), price, "EUR", item, metadata),
        Remove(line_id),
        SetMetadata({"gift": dice.randrange(9)}, line_id),
        Clear(),
    ]
    return dice.choices(steps, [8, 3, 3, 3, 1])[0]


@pytest.mark.timeout(300)
async def test_the_consumer_to_copy_finds_what_carts_says(
    topics: Topics,
    workers: Callable[[str], AgentProcess],
    new_shopper: Callable[[], Shopper],
    kafka: KafkaSettings,
    tmp_path: Path,
) -> None:
    dice = random.Random(11)
    early: list[Change] = []
    late: list[Change] = []
    expected: dict[str, int] = {}
    for _ in range(12):
        shopper = new_shopper()
        changes = [
            shopper.change(
                *[some_step(dice) for _ in range(dice.randrange(1, 4))], op_id=f"op-{dice.randrange(25)}"
            )
            for _ in range(30)
        ]
        payloads = {change.op_id: change.delta for change in reversed(changes)}
        attempts = [
            # One payload an operation, however often it is born.
            shopper.change(*payloads[change.op_id], op_id=change.op_id)
            for change in changes
        ]
        delivered = [*attempts, *dice.sample(attempts, 10)]
        dice.shuffle(delivered)
        early += delivered[:20]
        late += delivered[20:]
        expected[shopper.cart_id] = len(attempts)
    consumer = Consumer(kafka.kafka_bootstrap, tmp_path / "carts.sqlite")
    await topics.change(*early)
    await workers("w").start()
    for cart_id in expected:
        n = len({(change.version, change.op_id) for change in early if change.cart_id == cart_id})
        await topics.until_counted(cart_id, n)

    await consumer.once()
    assert consumer.carts().keys() >= expected.keys()
    await topics.change(*late)
    for cart_id, n in expected.items():
        await topics.until_counted(cart_id, n)
    await consumer.once()

    shown = consumer.carts()
    for cart_id in expected:
        cart = topics.cart(cart_id)
        assert cart is not None
        assert shown[cart_id] == shown_by_both(msgspec.to_builtins(cart))
