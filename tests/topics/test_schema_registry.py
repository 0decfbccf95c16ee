"""`cartstream topics register`: what a registry gets, again and again, and what is said when it refuses."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import encode_basic_auth
from click.testing import CliRunner, Result
from pydantic import SecretStr

from cli.topics import topics
from tests.topics.registry_stand_in import StandIn, running
from topics.errors import SchemaRegistryError
from topics.published import schema
from topics.registry import CARTS, TOPICS, Part
from topics.schema_registry import Compatibility, Registered, register, subjects
from topics.settings import SchemaRegistrySettings


def settings(url: str, **fields: Any) -> SchemaRegistrySettings:
    return SchemaRegistrySettings(schema_registry_url=url, **fields)


async def test_every_version_of_every_value_is_registered_in_its_order() -> None:
    async with running(StandIn()) as registry:
        await register(settings(registry.url), Compatibility.NONE, dry_run=False)
    assert set(registry.schemas) == {
        f"{topic.name}-value"
        for topic in TOPICS
        if any(record.part is Part.VALUE for record in topic.records)
    }
    carts = [json.loads(text) for text in registry.schemas[f"{CARTS.name}-value"]]
    assert carts == [schema("carts", version) for version in (1, 2, 3)]
    assert set(registry.levels.values()) == {"NONE"}


async def test_doing_it_again_changes_nothing() -> None:
    async with running(StandIn()) as registry:
        first = await register(settings(registry.url), Compatibility.NONE, dry_run=False)
        written = registry.written
        again = await register(settings(registry.url), Compatibility.NONE, dry_run=False)
    assert sum(len(each.versions) for each in first) == sum(len(each.schemas) for each in subjects())
    assert again == [Registered(each.name, (), None) for each in subjects()]
    assert registry.written == written


async def test_a_dry_run_tells_what_would_be_done_and_changes_nothing() -> None:
    async with running(StandIn()) as registry:
        told = await register(settings(registry.url), Compatibility.NONE, dry_run=True)
        assert registry.written == 0
        done = await register(settings(registry.url), Compatibility.NONE, dry_run=False)
    assert told == done


async def test_only_the_version_that_is_new_is_registered() -> None:
    async with running(StandIn()) as registry:
        known = next(each for each in subjects() if each.name == f"{CARTS.name}-value").schemas[:2]
        registry.schemas[f"{CARTS.name}-value"] = list(known)
        done = await register(settings(registry.url), Compatibility.NONE, dry_run=False)
    assert next(each for each in done if each.subject == f"{CARTS.name}-value").versions == (3,)


async def test_a_level_that_refuses_our_versions_is_named() -> None:
    async with running(StandIn()) as registry:
        with pytest.raises(SchemaRegistryError, match=r"409 .*incompatible: .*--compatibility NONE"):
            await register(settings(registry.url), Compatibility.FULL_TRANSITIVE, dry_run=False)


@pytest.mark.parametrize(
    ("authorization", "fields"),
    [
        (
            encode_basic_auth("ada", "pässword"),
            {"schema_registry_user": "ada", "schema_registry_password": SecretStr("pässword")},
        ),
        ("Bearer t0ken", {"schema_registry_token": SecretStr("t0ken")}),
    ],
)
async def test_who_asks_proves_it_and_is_told_how(authorization: str, fields: dict[str, Any]) -> None:
    async with running(StandIn(authorization=authorization)) as registry:
        await register(settings(registry.url, **fields), Compatibility.NONE, dry_run=True)
        with pytest.raises(SchemaRegistryError, match=r"401 .*CARTSTREAM_SCHEMA_REGISTRY_USER"):
            await register(settings(registry.url), Compatibility.NONE, dry_run=True)


async def test_a_registry_that_is_away_is_named() -> None:
    with pytest.raises(SchemaRegistryError, match=r"did not answer .*CARTSTREAM_SCHEMA_REGISTRY_URL"):
        await register(settings("http://127.0.0.1:1"), Compatibility.NONE, dry_run=True)


async def test_a_server_that_is_no_registry_is_named() -> None:
    async with running(StandIn()) as registry:
        with pytest.raises(SchemaRegistryError, match=r"no schema registry|405"):
            await register(settings(f"{registry.url}/elsewhere"), Compatibility.NONE, dry_run=False)


def test_half_a_proof_and_two_proofs_are_refused() -> None:
    with pytest.raises(ValueError, match="belong together"):
        settings("http://a", schema_registry_user="ada")
    with pytest.raises(ValueError, match="two callers"):
        settings(
            "http://a",
            schema_registry_user="ada",
            schema_registry_password=SecretStr("x"),
            schema_registry_token=SecretStr("y"),
        )


async def test_the_command_prints_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(StandIn()) as registry:
        monkeypatch.setenv("CARTSTREAM_SCHEMA_REGISTRY_URL", registry.url)
        told = await run("register", "--dry-run")
        done = await run("register")
        shown = await run("register", "--json")
    assert f"{CARTS.name}-value: version 3 is missing" in told.output
    assert "nothing was changed" in told.output
    assert f"{CARTS.name}-value: version 3 registered" in done.output
    assert f"{CARTS.name}-value: compatibility set to NONE" in done.output
    assert {each["subject"]: each["versions"] for each in json.loads(shown.output)["subjects"]} == {
        each.name: [] for each in subjects()
    }


async def run(*arguments: str) -> Result:
    """The command, in a thread: it has an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, topics, arguments)
    assert result.exit_code == 0, result.output
    return result
