"""Make the pictures of the demo shop that the docs show: `python -m tests.demo.screenshots`."""

import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, ViewportSize, expect

from devstack.embedded import EmbeddedStack
from tests.demo.browser import MISSING, chromium, launched, page_for_pictures, whole_stack
from tests.demo.shop_page import DemoPage

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
DESK: Final[ViewportSize] = {"width": 1440, "height": 900}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}


def take(folder: Path) -> None:
    """Write demo-desk.png, demo-dark.png and demo-phone.png into `folder`."""
    path = chromium()
    if path is None:
        sys.exit(MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="cartstream-screenshots-") as data,
        launched(path) as browser,
        whole_stack(Path(data)) as stack,
    ):
        desk(browser, stack, folder / "demo-desk.png", "ada", "light")
        desk(browser, stack, folder / "demo-dark.png", "grace", "dark")
        phone(browser, stack, folder / "demo-phone.png")


def desk(
    browser: Browser, stack: EmbeddedStack, image: Path, shopper: str, scheme: Literal["light", "dark"]
) -> None:
    """Two devices of one shopper; in the dark after Redis was wiped."""
    demo = opened(browser, stack, DESK, scheme)
    demo.phone.add("Cappuccino cup")
    demo.phone.shows(Cappuccino_cup=1)
    demo.phone.login(shopper)
    demo.happened("the guest cart is merged")
    demo.laptop.login(shopper)
    demo.laptop.add("Collector's cup")
    demo.laptop.add("Ethiopia natural, 250 g")
    expect(demo.phone.lines).to_have_count(3)
    demo.laptop.button("One more: Cappuccino cup").click()
    expect(demo.phone.cart.get_by_label("Pieces of Cappuccino cup")).to_have_value("2")
    if scheme == "dark":
        demo.wipe.click()
        expect(demo.page.get_by_text("Back, restored from Kafka.")).to_be_visible()
    shoot(demo, image)


def phone(browser: Browser, stack: EmbeddedStack, image: Path) -> None:
    """The same page in the window of a phone."""
    demo = opened(browser, stack, PHONE, "light")
    demo.phone.add("Cappuccino cup")
    demo.phone.add("Collector's cup")
    demo.phone.shows(Cappuccino_cup=1, **{"Collector's_cup": 1})
    shoot(demo, image)


def opened(
    browser: Browser, stack: EmbeddedStack, viewport: ViewportSize, scheme: Literal["light", "dark"]
) -> DemoPage:
    """The demo's page."""
    demo = DemoPage(page_for_pictures(browser, viewport, scheme), stack.urls.gateway)
    demo.open()
    return demo


def shoot(demo: DemoPage, image: Path) -> None:
    """Take the picture, with nothing pointed at and the first products in view."""
    demo.page.mouse.move(0, 0)
    demo.page.evaluate("for (const grid of document.querySelectorAll('.grid')) grid.scrollTo(0, 0)")
    demo.page.screenshot(path=image)
    demo.page.context.close()


if __name__ == "__main__":
    take(IMAGES)
