"""Pure decisions: headers, messages, readiness, the API's description."""

import pytest

from carts.protocol import Durability
from gateway.carts.requests import PUT_ITEM, PutItem
from gateway.health.checks import judge_redis, judge_schema, judge_servers
from gateway.http.conditions import (
    Preferences,
    first_attempt_us,
    is_not_modified,
    parse_entity_tags,
    parse_idempotency_key,
    parse_if_match,
    parse_prefer,
)
from gateway.http.problems import INVALID_BODY, Problem, problem_types
from gateway.http.validation import decode, explain
from gateway.openapi import document
from runtime.health import Check, Health, judge
from store.redis import ServerFacts


@pytest.mark.parametrize(
    ("value", "strong", "weak"),
    [
        ('"a"', ("a",), ()),
        ('W/"a"', (), ("a",)),
        ('"a", W/"b" ,"c"', ("a", "c"), ("b",)),
        ('"a",, "b"', ("a", "b"), ()),
        ('"a,b"', ("a,b",), ()),
        ('""', ("",), ()),
        (" * ", ("*",), ()),
    ],
)
def test_entity_tags_are_parsed_as_rfc_9110_has_them(
    value: str, strong: tuple[str, ...], weak: tuple[str, ...]
) -> None:
    found = parse_entity_tags("If-Match", value)
    assert (found.strong, found.weak) == (strong, weak)


@pytest.mark.parametrize("value", ["", ",", "a", '"a', 'w/"a"', '"a" "b"', '*, "a"', '"a" b'])
def test_what_is_no_list_of_entity_tags_is_a_problem(value: str) -> None:
    with pytest.raises(Problem, match="quotes"):
        parse_entity_tags("If-Match", value)


def test_weak_tags_never_satisfy_if_match_but_if_none_match() -> None:
    assert parse_if_match('W/"a"') == ()
    assert parse_if_match(None) is None
    assert is_not_modified('W/"a"', "a", "never")
    assert is_not_modified("*", "a", "never")
    assert not is_not_modified("*", "never", "never")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Preferences()),
        ("respond-async, wait=100", Preferences()),
        ("durability=redis", Preferences(durability=Durability.REDIS)),
        ('durability="postgres"', Preferences(durability=Durability.POSTGRES)),
        ("durability=kafka; handling=strict", Preferences(strict=True)),
        ("return=minimal, Handling=Strict", Preferences(strict=True, minimal=True)),
        ("durability=redis, durability=postgres", Preferences(durability=Durability.REDIS)),
        ("return=representation;foo", Preferences()),
    ],
)
def test_prefer_is_parsed_as_rfc_7240_has_it(value: str | None, expected: Preferences) -> None:
    assert parse_prefer(value) == expected


def test_an_idempotency_key_may_be_quoted() -> None:
    assert parse_idempotency_key('"abc"') == parse_idempotency_key("abc") == "abc"


def test_only_a_uuid7_tells_its_first_attempt() -> None:
    assert first_attempt_us("018bcfe5-6800-7000-8000-000000000000") == 1_700_000_000_000_000
    assert first_attempt_us("018bcfe5-6800-4000-8000-000000000000") is None
    assert first_attempt_us("order-1") is None


@pytest.mark.parametrize(
    ("message", "pointer"),
    [
        ("Expected `int`, got `str` - at `$.operations[3].quantity`", "/operations/3/quantity"),
        ("Object missing required field `op` - at `$.operations[0]`", "/operations/0/op"),
        ("Object contains unknown field `a/b~c`", "/a~1b~0c"),
        ("Expected `str`, got `int` - at `$.options[...]`", "/options"),
        ("Expected `str` of length >= 1 - at `key in $.options`", "/options"),
        ("Expected `object`, got `null`", ""),
    ],
)
def test_messages_become_json_pointers(message: str, pointer: str) -> None:
    assert explain(message)[0] == pointer


@pytest.mark.parametrize("quantity", [b"2", b"2.0", b"2e0", b"0.2E+1"])
def test_a_whole_number_is_an_integer_however_it_is_written(quantity: bytes) -> None:
    body = decode(
        PUT_ITEM, b'{"metadata": {"weight": 2.5, "parts": [1.0, 1e300]}, "quantity": %b}' % quantity
    )
    assert body == PutItem(2, {"weight": 2.5, "parts": [1, 1e300]})


@pytest.mark.parametrize(
    "rest", [b"", b', "metadata": {"a": 1.0}', b', "metadata": [', b', "metadata": ' + b"[" * 9999]
)
def test_a_fraction_is_no_integer_whatever_stands_behind_it(rest: bytes) -> None:
    with pytest.raises(Problem) as refused:
        decode(PUT_ITEM, b'{"quantity": 2.5%b}' % rest)
    assert refused.value.kind is INVALID_BODY
    assert refused.value.errors[0].pointer == "/quantity"


def test_the_key_of_a_member_is_named_where_it_is_known() -> None:
    message = "Expected `str`, got `int` - at `$.items[1].options[...]`"
    assert explain(message, "a/b")[0] == "/items/1/options/a~1b"


FACTS = {
    "version": "9.1.0",
    "role": "master",
    "loading": False,
    "maxmemory_policy": "noeviction",
    "maxmemory": 100,
    "used_memory": 1,
    "aof_enabled": True,
    "time_us": 1_000_000_000,
}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, Health.OK),
        ({"role": "slave"}, Health.FAILED),
        ({"loading": True}, Health.FAILED),
        ({"maxmemory_policy": "allkeys-lru"}, Health.FAILED),
        ({"time_us": 1_000_000_000 - 6_000_000}, Health.FAILED),
        ({"time_us": 1_000_000_000 + 6_000_000}, Health.FAILED),
        ({"aof_enabled": False}, Health.DEGRADED),
        ({"used_memory": 95}, Health.DEGRADED),
        ({"used_memory": 95, "maxmemory": 0}, Health.OK),
        ({"maxmemory_policy": None}, Health.DEGRADED),
        ({"aof_enabled": None}, Health.DEGRADED),
    ],
)
def test_redis_must_keep_what_it_is_given(change: dict[str, object], status: Health) -> None:
    check = judge_redis(ServerFacts(**(FACTS | change)), 1_000_000_000, 0.05)  # type: ignore[arg-type]
    assert check.status == status
    assert (check.detail is None) == (status is Health.OK)


def test_the_worst_server_is_named() -> None:
    fine = ServerFacts(**(FACTS | {"address": "one:1"}))  # type: ignore[arg-type]
    slow = ServerFacts(**(FACTS | {"address": "two:2", "time_us": 0}))  # type: ignore[arg-type]
    assert judge_servers([fine, fine], [], 1_000_000_000, 0.05) == Check(Health.OK)
    worst = judge_servers([fine, slow], ["three:3"], 1_000_000_000, 0.05)
    assert worst.status is Health.FAILED
    assert str(worst.detail).startswith("two:2: its clock is")
    lost = judge_servers([fine], ["three:3"], 1_000_000_000, 0.05)
    assert lost.status is Health.DEGRADED
    assert str(lost.detail).startswith("three:3: no answer")


def test_a_database_without_the_schema_makes_the_gateway_not_ready() -> None:
    check = judge_schema(["0001_carts", "0002_orders"])
    assert check.status is Health.FAILED
    assert "lacks 0001_carts, 0002_orders: run `cartstream migrate`" in str(check.detail)
    assert judge_schema([]) == Check(Health.OK)


@pytest.mark.parametrize(
    ("redis", "kafka", "postgres", "status", "ready"),
    [
        (Health.OK, Health.OK, Health.OK, "ready", True),
        (Health.OK, Health.DEGRADED, Health.OK, "degraded", True),
        (Health.OK, Health.OK, Health.DEGRADED, "degraded", True),
        (Health.OK, Health.DEGRADED, Health.DEGRADED, "degraded", True),
        (Health.DEGRADED, Health.OK, Health.OK, "degraded", True),
        (Health.FAILED, Health.OK, Health.OK, "not_ready", False),
        (Health.FAILED, Health.DEGRADED, Health.DEGRADED, "not_ready", False),
    ],
)
def test_only_redis_makes_the_gateway_not_ready(
    redis: Health, kafka: Health, postgres: Health, status: str, *, ready: bool
) -> None:
    found = judge({"redis": Check(redis), "kafka": Check(kafka), "postgres": Check(postgres)})
    assert (found.status, found.ready) == (status, ready)


def test_every_reference_of_the_openapi_document_leads_somewhere() -> None:
    api = document()
    components = api["components"]

    def references(node: object) -> list[str]:
        match node:
            case {"$ref": str(target)}:
                return [target]
            case dict():
                return [found for member in node.values() for found in references(member)]
            case list():
                return [found for member in node for found in references(member)]
        return []

    targets = references(api)
    assert targets
    for target in targets:
        _, root, kind, name = target.split("/")
        assert (root, name in components[kind]) == ("components", True), target
    assert "trusted callers" in components["schemas"]["AddItem"]["properties"]["unit_price"]["description"]


def test_problem_types_are_unique_and_errors() -> None:
    kinds = problem_types()
    assert len({kind.uri for kind in kinds}) == len(kinds)
    assert all(kind.status >= 400 for kind in kinds)
