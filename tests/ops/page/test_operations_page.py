"""The operations page in a browser: four states of a shop, and that it needs neither mouse nor eyes."""

import json
import os
import re
import subprocess
import sys

import httpx
import pytest
from playwright.sync_api import Browser, Locator, expect

from devstack.embedded import EmbeddedStack
from tests.ops.page.operations_page import PHONE, OperationsPage
from tests.ops.page.shop import dead, redis_wiped_and_nobody_restores, wrong_records
from tests.sinks.cart_records import new_cart_id
from topics.registry import PARTITIONS

pytestmark = [pytest.mark.ops, pytest.mark.timeout(600)]


def test_a_healthy_shop_shows_its_figures(operations: OperationsPage) -> None:
    expect(operations.troubles.locator(".bad")).to_have_count(0)
    expect(operations.figure("Changes")).to_have_text(re.compile("[1-9]"))
    expect(operations.figure("Change latency")).to_contain_text("s")
    for name in ("cartstream-compaction", "cartstream-postgres", "cartstream-redis"):
        expect(operations.group(name).locator(".state.good")).to_have_text("1")
    expect(operations.group("cartstream-postgres").locator("td.cell")).to_have_count(PARTITIONS)
    processes = operations.region("Processes")
    for name in ("gateway", "compaction-0", "sink-postgres-0", "redis", "jobs"):
        row = processes.get_by_role("row").filter(has=operations.page.get_by_role("rowheader", name=name))
        expect(row.locator(".state")).to_have_text("ready")
    expect(operations.page.locator("#restore-sum")).to_have_text("All 16 partitions are ready and warm")
    expect(operations.region("Servers").locator(".state.good")).to_have_count(3)
    expect(operations.region("Singleton jobs").get_by_role("row").filter(has_text="relay")).to_be_visible()


def test_the_heat_map_shows_records_or_seconds(operations: OperationsPage) -> None:
    seconds = operations.page.get_by_role("button", name="Seconds")
    seconds.click()
    expect(seconds).to_have_attribute("aria-pressed", "true")
    expect(operations.group("cartstream-postgres").locator("td.cell").first).to_have_attribute(
        "title", re.compile("partition 0: ")
    )


def test_a_redis_that_is_restored_is_told_of_until_it_is_back(
    operations: OperationsPage, ops_stack: EmbeddedStack
) -> None:
    with redis_wiped_and_nobody_restores(ops_stack):
        expect(operations.verdict).to_have_text("Something is wrong")
        expect(operations.trouble("16 of 16 partitions are being restored")).to_be_visible()
        expect(operations.trouble("cartstream-redis (sink-redis-0) does not answer")).to_be_visible()
        expect(operations.page.locator("#restore .bars progress")).to_have_count(PARTITIONS)
    expect(operations.page.locator("#restore-sum")).to_contain_text("All")
    expect(operations.trouble("are being restored")).to_have_count(0)
    expect(operations.trouble("cartstream-redis (sink-redis-0) does not answer")).to_have_count(0)


def test_a_dead_worker_and_what_waits_for_it_are_told_of_until_it_is_back(
    operations: OperationsPage, ops_stack: EmbeddedStack
) -> None:
    group = operations.group("cartstream-postgres")
    with dead(ops_stack, "sink-postgres"):
        expect(operations.verdict).to_have_text("Something is wrong")
        expect(operations.trouble("cartstream-postgres (sink-postgres-0) does not answer")).to_be_visible()
        expect(group.locator(".cell.heat-1, .cell.heat-2, .cell.heat-3").first).to_be_visible()
    expect(operations.trouble("sink-postgres")).to_have_count(0)


def test_dead_letters_are_looked_at_retried_and_dropped(
    operations: OperationsPage, ops_stack: EmbeddedStack
) -> None:
    misplaced, other, poison = wrong_records(ops_stack, 2, 1)
    for cart_id in (misplaced, other, poison):
        expect(operations.letter(cart_id)).to_be_visible()
    expect(operations.trouble("3 dead letters open")).to_be_visible()
    said = operations.page.locator("#letters-said")

    operations.letter(poison).get_by_role("button", name="Show").click()
    dialog = operations.page.get_by_role("dialog", name="Dead letter")
    expect(dialog).to_contain_text("not JSON \\xff")
    operations.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    operations.letter(misplaced).get_by_role("button", name="Retry").click()
    expect(operations.letter(misplaced)).to_have_count(0)
    expect(said).to_have_text("1 dead letter put back.")

    operations.page.get_by_role("button", name="Retry all").click()
    expect(operations.letter(other)).to_have_count(0)
    expect(said).to_contain_text("refused: not_json")
    expect(operations.letter(poison)).to_be_visible()

    drop = operations.letter(poison).get_by_role("button", name="Drop")
    drop.click()
    operations.page.get_by_role("button", name="Cancel").click()
    expect(operations.letter(poison)).to_be_visible()
    drop.click()
    operations.page.get_by_role("dialog").get_by_role("button", name="Drop").click()
    expect(operations.letter(poison)).to_have_count(0)
    expect(operations.trouble("dead letter")).to_have_count(0)

    found = look_up(operations, misplaced)
    expect(found).to_contain_text("The stores agree.")
    expect(found.locator(".copies")).to_contain_text("product-1")


def look_up(operations: OperationsPage, cart_id: str) -> Locator:
    """The cart, once the stores have what was written of it."""
    found = operations.page.locator("#found")
    field = operations.page.get_by_label("Cart id")
    field.fill(cart_id)

    def agrees() -> bool:
        field.press("Enter")
        expect(found.locator(".copies, .error")).to_be_visible()
        return found.get_by_text("The stores agree.").is_visible()

    for _ in range(100):
        if agrees():
            break
        operations.page.wait_for_timeout(200)
    return found


def test_a_cart_is_shown_as_every_store_has_it(operations: OperationsPage, ops_stack: EmbeddedStack) -> None:
    cart_id = new_cart_id()
    item = {"product_id": "espresso-cup", "quantity": 2}
    assert httpx.post(f"{ops_stack.urls.gateway}/v1/carts/{cart_id}/items", json=item).status_code == 200
    email = {"email": "ada@example.org"}
    url = f"{ops_stack.urls.gateway}/v1/carts/{cart_id}"
    assert httpx.patch(f"{url}/details", json=email).status_code == 200
    found = look_up(operations, cart_id)
    expect(found.get_by_role("article")).to_have_count(3)
    for store in ("Redis", "Kafka: carts", "Postgres"):
        expect(found.get_by_role("article").filter(has_text=store)).to_contain_text("espresso-cup")
    expect(found.get_by_role("row").filter(has_text="add")).to_contain_text("quantity 2")
    expect(found).to_contain_text("email")
    expect(found).not_to_contain_text("ada@example.org")

    look_up_nothing = operations.page.get_by_label("Cart id")
    look_up_nothing.fill(new_cart_id())
    look_up_nothing.press("Enter")
    expect(found).to_contain_text("No store has such a cart.")


def test_the_page_needs_neither_mouse_nor_eyes(operations: OperationsPage) -> None:
    operations.page.keyboard.press("Tab")
    expect(operations.page.get_by_role("link", name="Skip to what is wrong")).to_be_focused()
    for scheme in ("light", "dark"):
        operations.page.emulate_media(color_scheme=scheme)
        assert operations.violations() == []


def test_on_a_phone_nothing_sticks_out(browser: Browser, ops_stack: EmbeddedStack) -> None:
    page = OperationsPage.opened(browser, ops_stack.urls.ops, PHONE)
    assert page.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.close()


def test_the_terminal_shows_the_same(ops_stack: EmbeddedStack) -> None:
    environment = {
        **os.environ,
        **ops_stack.urls.environment(),
        "CARTSTREAM_DATA_DIR": str(ops_stack.settings.data_dir),
    }

    def top(option: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "cli", "top", option],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    overview = json.loads(top("--json"))
    states = {process["name"].partition(" ")[0]: process["state"] for process in overview["processes"]}
    assert states["cartstream-gateway"] == states["cartstream-compaction"] == "ready"
    assert overview["redis"]["value"]["partitions"] == PARTITIONS
    assert overview["traffic"]["changes_per_s"] is not None
    shown = top("--once")
    assert "cartstream-postgres" in shown
    assert "sink-postgres" in shown
