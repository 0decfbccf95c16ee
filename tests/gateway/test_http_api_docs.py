"""docs/reference/http-api.md says of routes, problems, readiness and limits what the code does."""

import re

import pytest

from carts.limits import LIMITS, TIMING
from gateway.app import create_app
from gateway.bootstrap import Container
from gateway.health.problem_pages import AGAIN
from gateway.http import problems
from gateway.http.problems import ProblemType
from gateway.openapi import document
from gateway.server.refusals import HEAD_BYTES, HEADERS
from gateway.settings import GatewaySettings
from runtime.health import Check, Health, judge
from tests.docs.tables import REFERENCE, ROOT, rows

PAGE = REFERENCE / "http-api.md"

DEMO = {("GET", "/"), ("GET", "/demo"), ("GET", "/demo/{name}"), ("POST", "/demo/wipe")}
"""Pages for people, in development mode only."""


def test_every_problem_type_is_there_with_status_and_title() -> None:
    known = {found for found in vars(problems).values() if isinstance(found, ProblemType)}
    documented = {(row[0], row[1], row[2]) for row in rows(PAGE, "Problems")}
    assert documented == {(found.uri, str(found.status), found.title) for found in known}


def test_the_page_of_a_problem_says_as_the_list_does_whether_to_try_again() -> None:
    documented = {row[0].rpartition("/")[2]: row[3] for row in rows(PAGE, "Problems")}
    assert {slug: again for slug, again in documented.items() if again != "no"} == AGAIN


@pytest.fixture(scope="module")
def served() -> set[tuple[str, str]]:
    """Method and path of everything that the app's router knows."""
    found = set()
    for route in create_app(Container.build(GatewaySettings())).router.routes:
        path = "/" + re.sub(r"<(\w+):\w+>", r"{\1}", route.path).lstrip("/")
        found |= {(method, path) for method in route.methods if method != "OPTIONS"}
    return found


def test_every_route_is_there(served: set[tuple[str, str]]) -> None:
    documented = {(method, row[1]) for row in rows(PAGE, "Routes") for method in row[0].split(", ")}
    assert documented == served


def test_every_route_has_an_openapi_operation(served: set[tuple[str, str]]) -> None:
    described = {
        (method.upper(), path)
        for path, item in document()["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert described | DEMO == {(method, path) for method, path in served if method != "HEAD"}


def test_every_feature_describes_the_parameters_of_its_paths_and_no_operation_twice() -> None:
    operations = [
        (path, operation)
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len({operation["operationId"] for _, operation in operations}) == len(operations)
    for path, item in document()["paths"].items():
        assert [one["name"] for one in item.get("parameters", [])] == re.findall(r"{(\w+)}", path)


@pytest.mark.parametrize(
    ("dependency", "state", "health", "status", "code"),
    [(row[0], row[1], Health(row[2]), row[3], int(row[4])) for row in rows(PAGE, "Readiness")],
)
def test_readiness_is_as_the_table_says(
    dependency: str, state: str, health: Health, status: str, code: int
) -> None:
    checks = {name: Check(Health.OK) for name in ("redis", "kafka", "postgres")}
    found = judge(checks | {dependency: Check(health, state)})
    assert (found.status, 200 if found.ready else 503) == (status, code)


def test_the_limits_are_those_of_the_code() -> None:
    body = GatewaySettings.model_fields["body_bytes"].default
    assert dict(rows(PAGE, "Limits")) == {
        "lines of a cart": (
            f"{LIMITS.lines} shown, {LIMITS.tracked_lines:,} with removed ones that are still remembered"
        ),
        "lines saved for later": f"{LIMITS.saved_lines}",
        "quantity of a line": f"{LIMITS.quantity}",
        "steps of one PATCH": f"{LIMITS.steps}",
        "metadata of a cart or of a line": f"{kib(LIMITS.metadata_bytes)} of JSON",
        "lines, metadata and details of a cart together": kib(LIMITS.content_bytes),
        f"changes of one cart in {minutes(TIMING.window_us)}, since its newest order": (
            f"{LIMITS.window_entries}, and {kib(LIMITS.window_bytes)} of JSON; more get 429"
        ),
        "unit_price": f"2^{(LIMITS.unit_price + 1).bit_length() - 1} \N{MINUS SIGN} 1 minor units",
        "request body": f"{kib(body)} (CARTSTREAM_BODY_BYTES), except imports",
        "first line and headers": f"{kib(HEAD_BYTES)} together",
        "headers": f"{HEADERS}",
    }


def kib(size: int) -> str:
    return f"{size // 1024} KiB"


def minutes(time_us: int) -> str:
    return f"{time_us // 60_000_000} minutes"


@pytest.mark.parametrize(
    ("page", "sentence", "time"),
    [
        ("README.md", "(within {}) is never applied twice", TIMING.retry_horizon_us),
        ("docs/explanation/reliability.md", "(within {}) is never applied twice", TIMING.retry_horizon_us),
        (
            "docs/explanation/reliability.md",
            "A retry is safe for {} from its first try.",
            TIMING.retry_horizon_us,
        ),
        ("docs/reference/http-api.md", "Valid for {} from the first try.", TIMING.retry_horizon_us),
        ("docs/explanation/reliability.md", "may arrive more than {} late", TIMING.window_us),
        (
            "docs/explanation/architecture.md",
            "[W](../reference/glossary.md#constants) = {} ",
            TIMING.window_us,
        ),
    ],
)
def test_the_times_of_the_protocol_are_those_of_the_code(page: str, sentence: str, time: int) -> None:
    said = re.sub(r"\n>? *", " ", (ROOT / page).read_text(encoding="utf-8"))
    assert sentence.format(minutes(time)) in said


def test_the_constants_of_the_glossary_are_those_of_the_code() -> None:
    constants = {row[0].strip("*"): row[2] for row in rows(REFERENCE / "glossary.md", "Constants")}
    assert {name: constants[name] for name in ("W", "HR", "D")} == {
        "W": minutes(TIMING.window_us),
        "HR": minutes(TIMING.retry_horizon_us),
        "D": f"{TIMING.publish_deadline_us // 1_000_000} seconds",
    }
