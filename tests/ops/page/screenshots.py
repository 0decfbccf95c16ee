"""Make the pictures of the operations page that the docs show: `python -m tests.ops.page.screenshots`."""

import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, ViewportSize, expect

from devstack.embedded import EmbeddedStack
from tests.demo.browser import MISSING, chromium, launched, page_for_pictures, whole_stack
from tests.ops.page.operations_page import DESK, PHONE, OperationsPage
from tests.ops.page.shop import Shoppers, dead, redis_wiped_and_nobody_restores, wrong_records

IMAGES: Final = Path(__file__).parents[3] / "docs" / "images"
_CURVES_MS: Final = 60_000
"""So that there is a curve to see."""
_LAG_MS: Final = 20_000


def take(folder: Path) -> None:
    """Write ops-healthy.png, ops-phone.png, ops-restoring.png, ops-dead-worker.png, ops-dead-letters.png."""
    path = chromium()
    if path is None:
        sys.exit(MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="cartstream-screenshots-") as data,
        launched(path) as browser,
        whole_stack(Path(data)) as stack,
        Shoppers(stack.urls.gateway),
    ):
        page = opened(browser, stack, DESK, "light")
        page.page.wait_for_timeout(_CURVES_MS)
        shoot(page, folder / "ops-healthy.png")
        phone = opened(browser, stack, PHONE, "light")
        shoot(phone, folder / "ops-phone.png")
        dark = opened(browser, stack, DESK, "dark")
        with dead(stack, "sink-postgres"):
            expect(dark.trouble("cartstream-postgres (sink-postgres-0) does not answer")).to_be_visible()
            dark.page.wait_for_timeout(_LAG_MS)
            shoot(dark, folder / "ops-dead-worker.png")
        with redis_wiped_and_nobody_restores(stack):
            expect(page.trouble("partitions are being restored")).to_be_visible()
            page.page.set_viewport_size({"width": DESK["width"], "height": 1150})
            shoot(page, folder / "ops-restoring.png")
            page.page.set_viewport_size(DESK)
        expect(page.troubles.locator(".bad")).to_have_count(0)
        carts = wrong_records(stack, 3, 2)
        for cart_id in carts:
            expect(page.letter(cart_id)).to_be_visible()
        page.page.get_by_role("button", name="Retry all").click()
        expect(page.page.locator("#letters-said")).to_contain_text("put back")
        page.letters.scroll_into_view_if_needed()
        shoot(page, folder / "ops-dead-letters.png")


def opened(
    browser: Browser, stack: EmbeddedStack, viewport: ViewportSize, scheme: Literal["light", "dark"]
) -> OperationsPage:
    """The operations page."""
    page = OperationsPage(page_for_pictures(browser, viewport, scheme), stack.urls.ops)
    page.open()
    return page


def shoot(page: OperationsPage, image: Path) -> None:
    """Take the picture, with nothing pointed at."""
    page.page.mouse.move(0, 0)
    page.page.screenshot(path=image)


if __name__ == "__main__":
    take(IMAGES)
