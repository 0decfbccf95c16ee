"""One whole stack with shoppers, and one browser, for the operations page."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from devstack.embedded import EmbeddedStack
from tests.demo.browser import whole_stack
from tests.demo.conftest import browser
from tests.ops.page.operations_page import OperationsPage
from tests.ops.page.shop import Shoppers

__all__ = ["browser"]


@pytest.fixture(scope="module")
def ops_stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """What `make run` starts, with shoppers; not without a browser to look at it."""
    assert browser.is_connected()
    with whole_stack(tmp_path_factory.mktemp("ops")) as stack, Shoppers(stack.urls.gateway):
        yield stack


@pytest.fixture
def operations(browser: Browser, ops_stack: EmbeddedStack) -> Iterator[OperationsPage]:
    """The page at a desk."""
    found = OperationsPage.opened(browser, ops_stack.urls.ops)
    yield found
    found.close()
