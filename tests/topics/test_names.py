"""With a prefix every name in Kafka and Redis begins with it; names are made in one place."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import msgspec
import pytest

from runtime.settings import load
from topics.groups import GROUPS
from topics.names import NameSettings, in_kafka, of_this_shop
from topics.registry import TOPICS

ROOT = Path(__file__).parents[2]
PRODUCT = ("delivery", "gateway", "jobs", "merges", "ops", "runtime", "sinks", "store", "streams", "topics")

NAMES = """
import json
from store.redis import Layout
from store.redis.catalogue import cache
from store.redis.rates import _key as rate
from store.redis.tickets import _key as ticket
from delivery.settings import DeliverySettings
from topics.acls import PRINCIPAL
from topics.groups import GROUPS
from topics.published import schema
from topics.registry import CARTS, TOPICS
from topics.schema_registry import subjects

layout = Layout(16)
cart = layout.of_cart("user:1")
print(json.dumps({
    "topics": [topic.name for topic in TOPICS] + [DeliverySettings().dead_letter_topic],
    "groups": [group.name for group in GROUPS],
    "principals": [PRINCIPAL],
    "subjects": [subject.name for subject in subjects()],
    "schemas": [CARTS.records[0].schema_id, schema("carts", 3)["$id"]],
    "redis": [
        *(key.decode() for p in range(16) for key in layout.of_partition(p)),
        *(key.decode() for key in (cart.cart, cart.ops, cart.win, cart.checkout_lock)),
        *(key.decode() for key in vars(cache).values() if isinstance(key, bytes) and b"{catalogue}" in key),
        cache._word_key("cup").decode(),
        ticket("t"), rate("p", "s").decode(),
    ],
}))
"""


SCHEMAS = "https://carts.example.org/schemas"


@cache
def names_with(prefix: str, generation: int = 1) -> dict[str, list[str]]:
    """The names of a process with this prefix, in this generation of the topics of carts."""
    done = subprocess.run(
        [sys.executable, "-c", NAMES],
        env=os.environ
        | {
            "CARTSTREAM_PREFIX": prefix,
            "CARTSTREAM_SCHEMAS_URL": SCHEMAS if prefix else "",
            "CARTSTREAM_GENERATION": str(generation),
        },
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=dict[str, list[str]])


def test_every_name_begins_with_the_prefix_and_is_otherwise_the_same() -> None:
    with_prefix, without = names_with("shop-a"), names_with("")
    assert [name.removeprefix("shop-a.") for name in with_prefix["topics"]] == without["topics"]
    assert [name.removeprefix("shop-a.") for name in with_prefix["groups"]] == without["groups"]
    assert [name.removeprefix("shop-a:") for name in with_prefix["redis"]] == without["redis"]
    own = load(NameSettings).prefix
    assert names_with(own)["topics"][: len(TOPICS)] == [topic.name for topic in TOPICS]
    assert names_with(own)["groups"] == [group.name for group in GROUPS]
    assert all(name.startswith("shop-a.") for name in with_prefix["topics"] + with_prefix["groups"])
    assert all(name.startswith("shop-a:") for name in with_prefix["redis"])
    assert with_prefix["principals"] == ["User:shop-a.cartstream-{role}"]
    assert [name.removeprefix("shop-a.") for name in with_prefix["subjects"]] == without["subjects"]


def test_the_ids_of_schemas_are_addresses_where_one_is_set() -> None:
    assert names_with("shop-a")["schemas"] == [f"{SCHEMAS}/carts/3"] * 2
    assert names_with("")["schemas"] == ["urn:cartstream:schema:carts:3"] * 2


@pytest.mark.parametrize("url", ["", "https://a.example/schemas", "http://127.0.0.1:8080/schemas"])
def test_the_address_of_schemas_is_that_of_a_folder(url: str) -> None:
    assert NameSettings(schemas_url=url).schemas_url == url


@pytest.mark.parametrize(
    "url", ["schemas", "https://a.example/schemas/", "https://a.example/?x=1", "ftp://a/b"]
)
def test_other_addresses_of_schemas_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="schemas_url"):
        NameSettings(schemas_url=url)


def test_what_belongs_to_carts_has_other_names_in_another_generation_and_nothing_else_has() -> None:
    first, second = names_with("shop-a"), names_with("shop-a", 2)
    renamed = {
        kind: {
            before: after for before, after in zip(first[kind], second[kind], strict=True) if before != after
        }
        for kind in first
    }
    bare = ("cart-changed", "carts", "purge-floors")
    assert renamed["topics"] == {f"shop-a.{name}": f"shop-a.{name}.g2" for name in bare}
    groups = ("cartstream-compaction", "cartstream-postgres", "cartstream-redis", "cartstream-history")
    assert renamed["groups"] == {f"shop-a.{name}": f"shop-a.{name}.g2" for name in groups}
    assert renamed["principals"] == {}
    of_carts = [key for key in first["redis"] if re.match(r"shop-a:{[0-9]+}:", key)]
    assert renamed["redis"] == {key: key.replace("shop-a:", "shop-a:G2:", 1) for key in of_carts}


@pytest.mark.parametrize("prefix", ["", "a", "shop-a", "7", "a" * 32])
def test_a_prefix_is_letters_digits_and_single_hyphens(prefix: str) -> None:
    assert NameSettings(prefix=prefix).prefix == prefix


@pytest.mark.parametrize(
    "prefix", ["Shop", "shop.a", "shop_a", "a:b", "{a}", "-a", "a-", "a--b", "a" * 33, "a\n"]
)
def test_other_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        NameSettings(prefix=prefix)


@pytest.mark.parametrize(
    "command", [("gateway",), ("streams", "compaction"), ("topics", "check")], ids=" ".join
)
def test_a_wrong_prefix_stops_the_start(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", *command],
        env=os.environ | {"CARTSTREAM_PREFIX": "shop_a"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "CARTSTREAM_PREFIX" in done.stderr
    assert "CARTSTREAM_PREFIX=shop-a" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_other_module_makes_a_name() -> None:
    """A name that is written out would lack the prefix."""
    topics = "|".join(re.escape(topic.name) for topic in TOPICS)
    groups = "|".join(re.escape(group.name) for group in GROUPS)
    in_kafka = re.compile(
        rf"(?:topic|TopicPartition|group|group_id)\w*\s*[=(]\s*f?[\"'](?:{topics}|{groups})[\"']"
    )
    in_redis = re.compile(r"b?f?\"(?:\{{1,3}[a-z_.\[\]]*\}{1,3}|rate|ticket):[a-z-]+\"")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in PRODUCT
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".sql"}
        for line in path.read_text(encoding="utf-8").splitlines()
        if in_kafka.search(line) or in_redis.search(line)
    ]
    assert found == []


def test_a_name_may_be_given_without_the_prefix() -> None:
    assert of_this_shop("carts") == of_this_shop(in_kafka("carts")) == in_kafka("carts")
