"""A browser and a whole stack for the demo shop: for its tests, and for its screenshots."""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from devstack.components import usual
from devstack.embedded import EmbeddedStack
from devstack.free_ports import free_ports
from devstack.settings import PORTS, StackSettings
from devstack.spec import RestartPolicy
from runtime.owners import OrdersOwner, ProductsOwner

MISSING: Final = "the demo shop is NOT tested: chromium is missing (apt-get install chromium)"


def chromium() -> str | None:
    """Where the system's Chromium is; None without one. Playwright brings none."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def launched(path: str) -> Iterator[Browser]:
    """The browser, without a window."""
    # Its sandbox refuses to be root's.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            browser.close()


def page_for_pictures(browser: Browser, viewport: ViewportSize, scheme: Literal["light", "dark"]) -> Page:
    """A page in a window of its own, with as many pixels as good screens have."""
    context = browser.new_context(
        viewport=viewport, color_scheme=scheme, device_scale_factor=1.5, reduced_motion="reduce"
    )
    return context.new_page()


@contextmanager
def whole_stack(
    folder: Path, absent: Collection[str] = (), policy: RestartPolicy = RestartPolicy.NEVER
) -> Iterator[EmbeddedStack]:
    """What `make run` starts, but not `absent`, on free ports, whatever the environment says of owners."""
    settings = StackSettings(
        products_owner=ProductsOwner.INTERNAL, orders_owner=OrdersOwner.INTERNAL
    ).with_ports(*free_ports(len(PORTS)))
    only = [name for name in usual(settings) if name not in absent]
    with EmbeddedStack(folder, settings, only, policy) as stack:
        yield stack
