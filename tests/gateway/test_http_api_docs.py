"""docs/reference/http-api.md says of routes, problems and readiness what the code does."""

import re

import pytest

from carts.limits import TIMING
from gateway.app import create_app
from gateway.bootstrap import Container
from gateway.health.checks import Check, Health, judge
from gateway.http import problems
from gateway.http.problems import ProblemType
from gateway.openapi import document
from gateway.settings import GatewaySettings
from tests.docs.tables import REFERENCE, rows

PAGE = REFERENCE / "http-api.md"

DEMO = {("GET", "/"), ("GET", "/demo"), ("GET", "/demo/{name}"), ("POST", "/demo/wipe")}
"""Pages for people, in development mode only."""


def test_every_problem_type_is_there_with_status_and_title() -> None:
    known = {found for found in vars(problems).values() if isinstance(found, ProblemType)}
    documented = {(row[0], row[1], row[2]) for row in rows(PAGE, "Problems")}
    assert documented == {(found.uri, str(found.status), found.title) for found in known}


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
    itself = {("GET", "/openapi.json"), ("GET", "/docs")}
    assert described | itself | DEMO == {(method, path) for method, path in served if method != "HEAD"}


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


def test_the_retry_horizon_is_the_one_promised() -> None:
    assert f"{TIMING.retry_horizon_us // 60_000_000} minutes" in PAGE.read_text(encoding="utf-8")
