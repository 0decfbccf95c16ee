"""`cartstream erase` erases carts, and `cartstream verify --erased` finds whatever is left of them."""

import msgspec
import psycopg
import pytest

from carts.state import State
from store.postgres import history
from store.postgres.roles import Role
from store.postgres.session import Address
from store.redis import CartStore
from tests.checkout.checkout_client import CheckoutClient
from tests.checkout.test_erasure import EMAIL, SECRET, changes_of, in_postgres, in_redis, personal_add
from tests.ops.command_line import CommandLine, environment
from tests.support.absent_carts import hydrated
from tests.support.roles import as_role
from tests.support.waiting import PATIENCE_S, until
from topics.registry import CART_CHANGED, CARTS, ORDERS

PATIENT = ("--wait", str(PATIENCE_S))


@pytest.fixture
def command_line(shop: CheckoutClient) -> CommandLine:
    """Somebody at the command line, beside the shop, with the operator's role in Postgres."""
    postgres = as_role(Address(shop.urls.postgres), Role.OPERATOR)
    return CommandLine(environment(shop.urls.kafka.kafka_bootstrap, shop.urls.redis, postgres))


async def record_history(shop: CheckoutClient, cart_id: str) -> None:
    """Write the cart's changes into its history, as `sinks history` would."""
    changes = await until(lambda: changes_of(shop, cart_id), "changes in Kafka")
    async with await psycopg.AsyncConnection.connect(shop.urls.postgres) as connection:
        await history.insert(connection, changes)


async def test_carts_are_erased_and_that_is_proven(shop: CheckoutClient, command_line: CommandLine) -> None:
    buyer, visitor = shop.cart("buyer"), shop.cart("visitor")
    product_id = await shop.product("cup", 9)
    for cart_id in (buyer, visitor):
        await personal_add(shop, cart_id, product_id)
        await record_history(shop, cart_id)
    order = await shop.order(buyer, email=EMAIL, metadata={"street": SECRET})

    async def all_published() -> bool:
        return not any(depth.entries for depth in await shop.store.outbox_depths())

    await until(all_published, "the outboxes empty")
    before = await command_line.run("verify", "--erased", buyer, "--json")
    assert before.status == 1
    assert {place["where"]: place["found"] for place in before.json[0]["places"]} == {
        CARTS.name: True,
        "Redis": True,
        "Redis outbox": False,
        "Postgres row": True,
        "Postgres orders": True,
        "Postgres history": True,
    }

    answer = await command_line.run("erase", buyer, visitor, "--yes", "--json", *PATIENT)

    assert answer.status == 0, answer.output
    assert [(each["cart_id"], each["complete"]) for each in answer.json] == [(buyer, True), (visitor, True)]
    assert [each["removed"]["orders"] for each in answer.json] == [1, 0]
    assert all(each["removed"]["changes"] for each in answer.json)
    for cart_id in (buyer, visitor):
        assert SECRET not in await in_redis(shop, cart_id)
        assert SECRET not in await in_postgres(shop, cart_id)

    async def relayed() -> bool:
        found = await shop.records(order["order_id"])
        return bool(found) and found[-1].version == 2

    await until(relayed, "the order's new record")
    proof = await command_line.run("verify", "--erased", buyer, "--erased", visitor, "--json")
    assert proof.status == 0, proof.output
    assert not any(place["found"] for each in proof.json for place in each["places"])
    assert [[waiting["topic"] for waiting in each["waiting"]] for each in proof.json] == [
        [CARTS.name, CART_CHANGED.name, ORDERS.name],
        [CARTS.name, CART_CHANGED.name],
    ]
    assert f"{buyer}: erased 20" in (await command_line.run("verify", "--erased", buyer)).output


async def test_what_came_back_by_hand_is_found(shop: CheckoutClient, command_line: CommandLine) -> None:
    cart_id = shop.cart("restored")
    await personal_add(shop, cart_id, await shop.product("pot", 9))
    ((state,),) = await until(
        lambda: shop.rows("SELECT state::text FROM carts WHERE cart_id = %s", (cart_id,)), "row"
    )
    assert (await command_line.run("erase", cart_id, "--yes", *PATIENT)).status == 0
    await shop.execute("UPDATE carts SET state = %s::jsonb WHERE cart_id = %s", (state, cart_id))
    await shop.forget(cart_id)
    store: CartStore = shop.store
    assert await hydrated(store, cart_id, msgspec.json.decode(state, type=State))
    answer = await command_line.run("verify", "--erased", cart_id)
    assert answer.status == 1
    assert "FOUND  Redis: 1 lines" in answer.output
    assert "FOUND  Postgres row: 1 lines" in answer.output


async def test_a_late_change_does_not_come_back_into_the_history(
    shop: CheckoutClient, command_line: CommandLine
) -> None:
    cart_id = shop.cart("late")
    await personal_add(shop, cart_id, await shop.product("can", 9))
    assert (await command_line.run("erase", cart_id, "--yes", *PATIENT)).status == 0
    await record_history(shop, cart_id)
    assert SECRET not in await in_postgres(shop, cart_id)
    answer = await command_line.run("verify", "--erased", cart_id)
    assert "clean  Postgres history: 0 changes of before" in answer.output


async def test_a_shopper_who_comes_back_is_no_finding(
    shop: CheckoutClient, command_line: CommandLine
) -> None:
    cart_id, product_id = shop.cart("back"), await shop.product("jug", 9)
    await personal_add(shop, cart_id, product_id)
    assert (await command_line.run("erase", cart_id, "--yes", *PATIENT)).status == 0
    await shop.add(cart_id, product_id)
    await until(lambda: shop.row_has(cart_id, product_id), "row")
    answer = await command_line.run("verify", "--erased", cart_id)
    assert answer.status == 0, answer.output
    assert "clean  Postgres row: 1 lines since" in answer.output


async def test_a_dry_run_and_a_no_erase_nothing(shop: CheckoutClient, command_line: CommandLine) -> None:
    cart_id = shop.cart("kept")
    await personal_add(shop, cart_id, await shop.product("lid", 9))
    await until(lambda: shop.rows("SELECT FROM carts WHERE cart_id = %s", (cart_id,)), "row")
    answer = await command_line.run("erase", cart_id, "--dry-run")
    assert answer.status == 0, answer.output
    assert "FOUND  Redis: 1 lines, 1 operations: never erased" in answer.output
    assert (await command_line.run("erase", cart_id)).status == 1  # nobody answers the question
    assert SECRET in await in_postgres(shop, cart_id)


async def test_a_cart_being_ordered_is_said_and_the_others_are_erased(
    shop: CheckoutClient, command_line: CommandLine
) -> None:
    ordered, other = shop.cart("ordered"), shop.cart("other")
    await shop.store.lock_checkout(ordered, "somebody", 60_000)
    answer = await command_line.run("erase", ordered, other, "--yes", *PATIENT)
    assert answer.status == 1
    assert f"{ordered}: not erased. The cart is being ordered" in answer.output
    assert f"{other}: erased" in answer.output


async def test_what_is_no_cart_id_is_refused(command_line: CommandLine) -> None:
    assert (await command_line.run("erase", "ada", "--yes")).status == 2
