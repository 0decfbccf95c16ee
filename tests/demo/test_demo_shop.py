"""The demo shop in a browser: its story, its retries, and that it needs neither mouse nor eyes."""

from uuid import uuid4

import httpx
import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Route, expect

from devstack.embedded import EmbeddedStack
from devstack.mailbox.messages import Messages
from gateway.openapi import document
from tests.demo.shop_page import DemoPage
from tests.support.waiting import until_blocking
from topics.registry import CART_CHANGED

# A whole start, and a browser, on a busy machine.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def shopper() -> str:
    """A user that nobody else is."""
    return f"ada-{uuid4().hex[:8]}"


def test_a_cart_goes_from_guest_to_user_to_another_device(demo: DemoPage, shopper: str) -> None:
    demo.phone.add("Cappuccino cup")
    demo.phone.shows(Cappuccino_cup=1)
    demo.laptop.shows()

    demo.phone.login(shopper)
    demo.happened("the guest cart is merged: 1 line")
    demo.phone.shows(Cappuccino_cup=1)

    demo.laptop.login(shopper)
    demo.laptop.shows(Cappuccino_cup=1)
    demo.laptop.button("One more: Cappuccino cup").click()
    demo.phone.shows(Cappuccino_cup=2)
    demo.phone.add("Cookie jar")
    demo.laptop.shows(Cappuccino_cup=2, Cookie_jar=1)
    demo.happened(f"durability kafka · {CART_CHANGED.name}/")

    demo.open()
    demo.phone.shows(Cappuccino_cup=2, Cookie_jar=1)
    demo.laptop.shows(Cappuccino_cup=2, Cookie_jar=1)
    demo.laptop.button("Log out").click()
    demo.laptop.shows()
    # A busy gateway may have told the page to come again.
    assert demo.refused <= {503}


def test_a_wiped_redis_comes_back_on_both_devices(
    demo: DemoPage, shop_stack: EmbeddedStack, shopper: str
) -> None:
    for device in (demo.phone, demo.laptop):
        device.login(shopper)
    demo.phone.add("Cappuccino cup")
    demo.laptop.shows(Cappuccino_cup=1)
    until_blocking(lambda: subtotal_of(shop_stack, shopper) == 1650, "the cart's row")

    # Nobody restores it as yet, so that the stale carts are there to be seen.
    agent = shop_stack.component("sink-redis")
    agent.pause()
    try:
        demo.wipe.click()
        for device in (demo.phone, demo.laptop):
            device.is_stale()
            device.shows(Cappuccino_cup=1)
        demo.laptop.add("Cookie jar")
    finally:
        agent.resume()

    expect(demo.page.get_by_text("Back, restored from Kafka.")).to_be_visible()
    for device in (demo.phone, demo.laptop):
        device.is_current()
        device.shows(Cappuccino_cup=1, Cookie_jar=1)
    assert demo.refused <= {503}


def subtotal_of(stack: EmbeddedStack, user: str) -> int | None:
    with psycopg.connect(stack.urls.postgres) as connection:
        row = connection.execute(
            "SELECT subtotal FROM carts WHERE cart_id = %s", (f"user:{user}",)
        ).fetchone()
        return row[0] if row else None


def test_an_order_empties_both_carts_and_its_mail_is_in_the_mailbox(
    demo: DemoPage, shop_stack: EmbeddedStack, shopper: str
) -> None:
    email = f"{shopper}@example.org"
    for device in (demo.phone, demo.laptop):
        device.login(shopper)
    demo.phone.add("Cappuccino cup")
    demo.laptop.shows(Cappuccino_cup=1)

    demo.laptop.root.get_by_label("E-mail for the confirmation").fill(email)
    demo.laptop.button("Order").click()
    expect(demo.laptop.cart.get_by_text("Ordered for €16.50.")).to_be_focused()
    demo.laptop.shows()
    demo.phone.shows()

    mails = Messages(shop_stack.settings.mail_folder)
    until_blocking(lambda: any(mail.recipient == email for mail in mails.list(10)), "the mail")
    with demo.page.context.expect_page() as opened:
        demo.laptop.root.get_by_role("link", name="open the mailbox").click()
    expect(opened.value.get_by_text(email).first).to_be_visible()
    assert opened.value.url == f"{shop_stack.urls.mailbox}/"


def test_an_add_without_an_answer_is_sent_again_with_its_key_and_counts_once(demo: DemoPage) -> None:
    keys: list[str | None] = []

    def lose_the_first_answer(route: Route) -> None:
        keys.append(route.request.header_value("idempotency-key"))
        if len(keys) == 1:
            assert route.fetch().ok
            route.abort()
        else:
            route.continue_()

    demo.page.route("**/items", lose_the_first_answer)
    demo.phone.add("Cappuccino cup")
    demo.happened("replayed, not applied twice")
    demo.happened(f"replayed, not applied twice · {len(keys)} attempts with one key")
    demo.phone.shows(Cappuccino_cup=1)
    assert len(keys) >= 2
    assert len(set(keys)) == 1


def test_a_decision_on_an_outdated_cart_is_made_again(demo: DemoPage, shopper: str) -> None:
    demo.phone.login(shopper)
    demo.phone.add("Cappuccino cup")
    demo.phone.shows(Cappuccino_cup=1)
    seen: list[int | None] = []

    def change_it_meanwhile(route: Route) -> None:
        if not seen:
            patch(f"{demo.url}/v1/carts/user:{shopper}/items/cappuccino-cup", {"quantity": 5})
        reply = route.fetch()
        seen.append(reply.status)
        route.fulfill(response=reply)

    demo.page.route("**/items/*", change_it_meanwhile)
    demo.phone.button("One more: Cappuccino cup").click()
    demo.happened("412: read and decided again")
    demo.phone.shows(Cappuccino_cup=6)
    # What a busy gateway turns away is asked for again.
    assert [status for status in seen if status != 503] == [412, 200]


def patch(url: str, body: dict[str, int]) -> None:
    """Change something past the page."""

    def is_changed() -> bool:
        reply = httpx.patch(url, json=body, timeout=60)
        assert reply.status_code in {200, 503}, reply.text
        return reply.is_success

    until_blocking(is_changed, url)


def test_what_the_gateway_refuses_is_said(demo: DemoPage) -> None:
    demo.phone.add("Collector's cup")
    pieces = demo.phone.cart.get_by_label("Pieces of Collector's cup")
    expect(pieces).to_have_value("1")
    pieces.fill("11")
    pieces.press("Enter")
    expect(demo.phone.cart.get_by_role("alert")).not_to_be_empty()
    expect(pieces).to_have_value("1")


def test_a_price_that_has_changed_is_warned_of(demo: DemoPage) -> None:
    towel = f"{demo.url}/v1/products/tea-towel"
    demo.phone.add("Tea towel")
    demo.phone.shows(Tea_towel=1)
    patch(towel, {"unit_price": 1390})
    until_blocking(
        lambda: httpx.get(towel, timeout=60).json().get("unit_price") == 1390,
        "the new price in the catalogue",
    )

    # The page does not know yet: it tells the price that it shows, and that is refused.
    demo.phone.add("Tea towel")
    expect(demo.phone.cart.get_by_role("alert")).to_contain_text("13")
    demo.phone.add("Cookie jar")
    demo.phone.shows(Tea_towel=1, Cookie_jar=1)
    expect(demo.phone.cart.get_by_text("Tea towel has another price now.")).to_be_visible()


def test_a_gateway_without_a_catalogue_is_told_of(demo: DemoPage) -> None:
    demo.page.route("**/v1/products?*", lambda route: route.fulfill(status=404, json={}))
    demo.phone.root.get_by_label("Search products").fill("cup")
    expect(demo.phone.root.get_by_text("This gateway has no catalogue")).to_be_visible()


def test_what_is_being_typed_is_not_overwritten(demo: DemoPage, shopper: str) -> None:
    for device in (demo.phone, demo.laptop):
        device.login(shopper)
    demo.phone.add("Cappuccino cup")
    demo.laptop.shows(Cappuccino_cup=1)
    pieces = demo.phone.cart.get_by_label("Pieces of Cappuccino cup")
    pieces.fill("7")
    demo.laptop.add("Cookie jar")
    expect(demo.phone.lines).to_have_count(2)
    expect(pieces).to_have_value("7")
    pieces.press("Enter")
    demo.laptop.shows(Cappuccino_cup=7, Cookie_jar=1)


def test_search_and_categories_find_products(demo: DemoPage) -> None:
    cards = demo.laptop.root.locator(".card")
    demo.laptop.root.get_by_label("Search products").fill("hazel")
    expect(cards).to_have_count(1)
    expect(cards).to_contain_text("House blend")
    demo.laptop.root.get_by_label("Search products").fill("nothing has this word")
    expect(demo.laptop.root.get_by_text("No product has all of these words.")).to_be_visible()
    demo.laptop.root.get_by_label("Search products").fill("")
    demo.laptop.button("tea").click()
    expect(cards).to_have_count(3)
    expect(demo.laptop.button("tea")).to_have_attribute("aria-pressed", "true")


def test_the_reference_of_the_api_needs_no_other_host(demo: DemoPage) -> None:
    demo.page.goto(f"{demo.url}/docs")
    operations = sum(len(item.keys() - {"parameters"}) for item in document()["paths"].values())
    expect(demo.page.locator(".opblock")).to_have_count(operations)
    demo.page.locator("#operations-Carts-addItem .opblock-summary-control").click()
    expect(demo.page.locator("#operations-Carts-addItem")).to_contain_text("a retry never applies twice")
    expect(demo.page.locator("#operations-Carts-addItem")).to_contain_text("/problems/cart-merged")


def test_a_keyboard_is_enough_and_keeps_its_place(demo: DemoPage) -> None:
    press = demo.page.keyboard.press

    def tab_to(goal: Locator) -> None:
        for _ in range(80):
            press("Tab")
            if goal.evaluate("goal => goal === document.activeElement"):
                return
        raise AssertionError(f"no Tab leads to {goal}")

    tab_to(demo.phone.product("Cappuccino cup"))
    press("Enter")
    demo.phone.shows(Cappuccino_cup=1)
    expect(demo.phone.product("Cappuccino cup")).to_be_focused()

    tab_to(demo.phone.button("One more: Cappuccino cup"))
    press("Space")
    demo.phone.shows(Cappuccino_cup=2)
    expect(demo.phone.button("One more: Cappuccino cup")).to_be_focused()

    tab_to(demo.phone.button("Remove Cappuccino cup"))
    press("Enter")
    demo.phone.shows()
    expect(demo.phone.cart.get_by_role("heading", name="Cart")).to_be_focused()


def test_changes_are_told_to_a_screen_reader(demo: DemoPage, shopper: str) -> None:
    for device in (demo.phone, demo.laptop):
        device.login(shopper)
    demo.phone.add("Cappuccino cup")
    said = [device.root.locator("[role=status].said") for device in (demo.phone, demo.laptop)]
    expect(said[0]).to_have_text("Phone adds Cappuccino cup. 1 piece, €16.50")
    expect(said[1]).to_have_text("Cart updated. 1 piece, €16.50")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing_to_complain_of(
    browser: Browser, shop_stack: EmbeddedStack, scheme: str, width: int
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    demo = DemoPage(context.new_page(), shop_stack.urls.gateway)
    demo.page.goto(demo.url)
    expect(demo.page.get_by_role("heading", name="cartstream")).to_be_visible()
    assert violations(demo) == []
    demo.open()
    demo.phone.add("Cappuccino cup")
    demo.phone.shows(Cappuccino_cup=1)
    assert violations(demo) == []
    context.close()


def violations(demo: DemoPage) -> list[str]:
    found = Axe().run(demo.page).response["violations"]
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]


def test_a_phones_window_has_one_device_at_a_time_and_nothing_sticks_out(
    browser: Browser, shop_stack: EmbeddedStack
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    demo = DemoPage(context.new_page(), shop_stack.urls.gateway)
    demo.open()
    demo.phone.add("Cappuccino cup")
    demo.phone.shows(Cappuccino_cup=1)
    assert demo.page.evaluate("document.documentElement.scrollWidth") == 390
    demo.page.get_by_role("button", name="Laptop").click()
    expect(demo.laptop.root).to_be_visible()
    expect(demo.phone.root).to_be_hidden()
    assert demo.page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()
