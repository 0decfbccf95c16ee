"""One whole stack and one browser for the folder; each test has a window with a storage of its own."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from devstack.embedded import EmbeddedStack
from devstack.spec import RestartPolicy
from tests.demo.browser import MISSING, chromium, launched, whole_stack
from tests.demo.shop_page import DemoPage


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    path = chromium()
    if path is None:
        pytest.skip(MISSING)
    with launched(path) as browser:
        yield browser


@pytest.fixture(scope="module")
def shop_stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """What `make run` starts; not without a browser to look at it."""
    assert browser.is_connected()
    # As there, what ends by itself is started again: an agent on a busy machine takes itself for frozen.
    with whole_stack(tmp_path_factory.mktemp("shop"), policy=RestartPolicy.ALWAYS) as stack:
        yield stack


@pytest.fixture
def demo(browser: Browser, shop_stack: EmbeddedStack) -> Iterator[DemoPage]:
    """The demo's page at a desk. In the end: no complaint of the browser, no request to another host."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    found = DemoPage(context.new_page(), shop_stack.urls.gateway)
    found.open()
    yield found
    context.close()
    assert found.complaints == []
    assert found.foreign == []
