"""The demo shop as a person sees it: two devices, a button, a log. Everything waits until it is so."""

from typing import Final

from playwright.sync_api import Locator, Page, Response, expect

from tests.support.waiting import PATIENCE_S

expect.set_options(timeout=PATIENCE_S * 1000)


class Device:
    """The phone or the laptop."""

    def __init__(self, page: Page, name: str) -> None:
        self.root: Final = page.get_by_role("region", name=name, exact=True)
        self.cart: Final = page.get_by_role("region", name=f"{name}: cart")
        self.lines: Final = self.cart.locator(".line")

    def product(self, name: str) -> Locator:
        """The button that adds a product."""
        return self.root.get_by_role("button", name=f"Add {name}", exact=True)

    def button(self, name: str) -> Locator:
        """Another button of the device."""
        return self.root.get_by_role("button", name=name, exact=True)

    def add(self, name: str) -> None:
        """Press its button."""
        self.product(name).click()

    def login(self, name: str) -> None:
        """Log in, and wait until that is so."""
        self.root.get_by_label("Your name").fill(name)
        self.button("Log in").click()
        expect(self.button("Log out")).to_be_visible()

    def shows(self, **quantities: int) -> None:
        """Wait until the cart has exactly these products (underscores are blanks)."""
        expect(self.lines).to_have_count(len(quantities))
        for name, quantity in quantities.items():
            pieces = self.cart.get_by_label(f"Pieces of {name.replace('_', ' ')}")
            expect(pieces).to_have_value(str(quantity))

    def is_stale(self) -> None:
        """Wait until the cart says that it is Postgres's copy."""
        expect(self.cart.get_by_text("Stale: the copy in Postgres")).to_be_visible()

    def is_current(self) -> None:
        """Wait until the cart says so no more."""
        expect(self.cart.get_by_text("Stale: the copy in Postgres")).to_be_hidden()


class DemoPage:
    """The page, and what the browser complained of meanwhile."""

    def __init__(self, page: Page, url: str) -> None:
        self.page: Final = page
        self.url: Final = url
        self.phone: Final = Device(page, "Phone")
        self.laptop: Final = Device(page, "Laptop")
        self.log: Final = page.get_by_role("list", name="What happened")
        self.wipe: Final = page.get_by_role("button", name="Wipe Redis")
        self.complaints: Final[list[str]] = []
        self.foreign: Final[list[str]] = []
        self.refused: Final[set[int]] = set()
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("request", lambda request: self._asked(request.url))
        page.on("response", self._answered)

    def open(self) -> None:
        """Go there, and wait for products and carts."""
        self.page.goto(f"{self.url}/demo")
        shown = self.page.locator(".device:visible")
        for device in shown.all():
            expect(device.locator(".card").first).to_be_visible()
            expect(device.locator(".follows")).to_have_text("live")

    def happened(self, text: str) -> None:
        """Wait until the log says this."""
        expect(self.log.get_by_text(text).first).to_be_visible()

    def _heard(self, kind: str, text: str) -> None:
        # The browser complains of each answer that is an error: those are in `refused`.
        if kind in {"error", "warning"} and not text.startswith("Failed to load resource"):
            self.complaints.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith(f"{self.url}/"):
            self.foreign.append(url)

    def _answered(self, response: Response) -> None:
        if not response.ok and response.status != 304:
            self.refused.add(response.status)
