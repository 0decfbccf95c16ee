"""The operations page as an operator sees it. Everything waits until it is so."""

from typing import Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from tests.support.waiting import PATIENCE_S

DESK: Final[ViewportSize] = {"width": 1440, "height": 900}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}

expect.set_options(timeout=PATIENCE_S * 1000)


class OperationsPage:
    """The page, and what the browser complained of meanwhile."""

    def __init__(self, page: Page, url: str) -> None:
        self.page: Final = page
        self._url: Final = url
        self._origin: Final = url.removesuffix("/ops")
        self.verdict: Final = page.locator("#verdict-title")
        self.troubles: Final = page.locator("#troubles")
        self.letters: Final = page.locator("#letters")
        self.complaints: Final[list[str]] = []
        self.foreign: Final[list[str]] = []
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("request", lambda request: self._asked(request.url))

    @staticmethod
    def opened(browser: Browser, url: str, viewport: ViewportSize = DESK) -> "OperationsPage":
        """The page in a window of its own, with something to show."""
        found = OperationsPage(browser.new_context(viewport=viewport).new_page(), url)
        found.open()
        return found

    def open(self) -> None:
        """Go there, and wait until everything was looked at."""
        self.page.goto(self._url)
        expect(self.page.locator("#pulse")).to_have_attribute("data-state", "live")
        expect(self.page.locator("#groups tbody tr").first).to_be_visible()
        expect(self.verdict).not_to_have_text("Looking …")

    def region(self, name: str) -> Locator:
        """A section by its title."""
        return self.page.get_by_role("region", name=name, exact=True).first

    def figure(self, name: str) -> Locator:
        """The number of a tile."""
        title = self.page.get_by_role("heading", name=name, exact=True)
        return self.page.locator(".tiles article").filter(has=title).locator(".value")

    def group(self, name: str) -> Locator:
        """The row of a consumer group in the heat map."""
        return self.page.locator("table.heat tbody tr").filter(has_text=name).first

    def trouble(self, text: str) -> Locator:
        """A trouble by some of its words."""
        return self.troubles.get_by_role("listitem").filter(has_text=text)

    def letter(self, cart_id: str) -> Locator:
        """The row of a dead letter by its key."""
        return self.letters.get_by_role("row").filter(has_text=cart_id)

    def violations(self) -> list[str]:
        """What the checker of accessibility finds."""
        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]

    def close(self) -> None:
        """Close the window. The browser has not complained, and nothing came from elsewhere."""
        self.page.context.close()
        assert self.complaints == []
        assert self.foreign == []

    def _heard(self, kind: str, text: str) -> None:
        # The browser complains of each answer that is an error.
        if kind in {"error", "warning"} and not text.startswith("Failed to load resource"):
            self.complaints.append(f"{kind}: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith(f"{self._origin}/"):
            self.foreign.append(url)
