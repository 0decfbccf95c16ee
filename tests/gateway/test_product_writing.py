"""Products written over HTTP: into Postgres and its outbox, or straight to the topic."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import psycopg
import pytest

from tests.gateway.conftest import catalogue_client_of
from tests.gateway.product_fixtures import CatalogueClient, product
from tests.support.processes import EXTERNAL, GatewayProcess
from tests.support.servers import Urls
from tests.support.topics import records_of
from topics.partitioner import partition_of
from topics.registry import PARTITIONS, PRODUCTS

NDJSON = {"content-type": "application/x-ndjson"}
CUP: dict[str, Any] = {"name": "Cup", "unit_price": 1450, "currency": "EUR", "stock": 5}


@pytest.fixture(scope="module")
def external_gateway(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose products another system owns."""
    process = GatewayProcess({**urls.environment(), **EXTERNAL}, tmp_path_factory.mktemp("external"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def external(external_gateway: GatewayProcess, urls: Urls) -> AsyncIterator[CatalogueClient]:
    """A client of that gateway; the catalogue is empty and not ready."""
    async with catalogue_client_of(external_gateway, urls) as found:
        yield found


@pytest.fixture
def name() -> str:
    """A product nobody has used."""
    return f"sku-{uuid4().hex}"


def problem(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["type"].removeprefix("/problems/")


def lines(*documents: object) -> bytes:
    return b"".join(
        (one if isinstance(one, bytes) else msgspec.json.encode(one)) + b"\n" for one in documents
    )


def reports(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [msgspec.json.decode(line) for line in reply.content.splitlines()]


async def import_(shop: CatalogueClient, content: Any) -> list[dict[str, Any]]:
    return reports(await shop.http.post("/v1/products/import", content=content, headers=NDJSON))


async def rows(shop: CatalogueClient, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(shop.carts.urls.postgres) as connection:
        return await (await connection.execute(query, parameters)).fetchall()


async def newest(shop: CatalogueClient, product_id: str) -> dict[str, Any]:
    """The newest record of a product in the topic."""
    key = product_id.encode()
    records = await records_of(shop.carts.urls.kafka, PRODUCTS.name, [partition_of(key, PARTITIONS)])
    found = [record.value for record in records if record.key == key]
    document: dict[str, Any] = msgspec.json.decode(found[-1])
    return document


async def test_a_put_is_a_row_and_a_record_on_its_way(shop: CatalogueClient, name: str) -> None:
    created = await shop.http.put(f"/v1/products/{name}", json=CUP)
    assert created.status_code == 201, created.text
    assert created.headers["etag"] == f'"{created.json()["version"]}"'
    assert await rows(shop, "SELECT unit_price, stock FROM products WHERE product_id = %s", name) == [
        (1450, 5)
    ]
    ((value,),) = await rows(shop, "SELECT value FROM outbox WHERE key = %s", name)
    assert msgspec.json.decode(value) == created.json()

    replaced = await shop.http.put(f"/v1/products/{name}", json={**CUP, "stock": None})
    assert replaced.status_code == 200
    assert (replaced.json()["stock"], replaced.json()["version"] > created.json()["version"]) == (None, True)


async def test_the_same_put_twice_is_one_version(shop: CatalogueClient, name: str) -> None:
    first = await shop.http.put(f"/v1/products/{name}", json=CUP)
    again = await shop.http.put(f"/v1/products/{name}", json=CUP)
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(await rows(shop, "SELECT FROM outbox WHERE key = %s", name)) == 1


async def test_a_patch_changes_what_it_names_and_null_is_a_value(shop: CatalogueClient, name: str) -> None:
    await shop.http.put(f"/v1/products/{name}", json=CUP)
    patched = await shop.http.patch(f"/v1/products/{name}", json={"unit_price": 1600, "stock": None})
    assert patched.status_code == 200, patched.text
    assert (patched.json()["name"], patched.json()["unit_price"], patched.json()["stock"]) == (
        "Cup",
        1600,
        None,
    )


async def test_if_match_guards_a_product_against_overwriting(shop: CatalogueClient, name: str) -> None:
    path = f"/v1/products/{name}"
    absent = await shop.http.put(path, json=CUP, headers={"if-match": "*"})
    assert problem(absent) == (412, "precondition-failed")
    tag = (await shop.http.put(path, json=CUP)).headers["etag"]
    assert (await shop.http.patch(path, json={"stock": 4}, headers={"if-match": tag})).status_code == 200
    for method, body in (("PATCH", {"stock": 3}), ("PUT", CUP)):
        late = await shop.http.request(method, path, json=body, headers={"if-match": tag})
        assert problem(late) == (412, "precondition-failed")
        assert late.headers["etag"] == f'"{late.json()["current"]}"'
    assert await rows(shop, "SELECT stock FROM products WHERE product_id = %s", name) == [(4,)]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"unit_price": -1}, "/unit_price"),
        ({"currency": "euro"}, "/currency"),
        ({"name": " "}, "/name"),
        ({"image_url": "javascript:alert(1)"}, "/image_url"),
        ({"colour": "red"}, "/colour"),
        ({"version": 3}, "/version"),
    ],
)
async def test_a_bad_product_is_refused_with_a_pointer(
    shop: CatalogueClient, name: str, change: dict[str, Any], pointer: str
) -> None:
    for method in ("PUT", "PATCH"):
        await shop.http.put(f"/v1/products/{name}", json=CUP)
        body = {**CUP, **change} if method == "PUT" else change
        refused = await shop.http.request(method, f"/v1/products/{name}", json=body)
        assert problem(refused) == (422, "invalid-body")
        assert refused.json()["errors"][0]["pointer"] == pointer


async def test_a_patch_of_nothing_known_is_404(shop: CatalogueClient, name: str) -> None:
    refused = await shop.http.patch(f"/v1/products/{name}", json={"stock": 1})
    assert problem(refused) == (404, "product-not-found")


async def test_an_import_keeps_what_is_right_and_names_each_line_that_is_not(
    shop: CatalogueClient, name: str
) -> None:
    found = await import_(
        shop,
        lines(
            {"product_id": f"{name}-1", **CUP},
            {"product_id": f"{name}-2", **CUP, "unit_price": "14.50"},
            b"",
            b"{not json",
            {"product_id": f"{name}-5", **CUP, "stock": -1},
            {"product_id": f"{name}-6", **CUP},
            b"x" * 270_000,
        ),
    )
    *errors, summary = found
    assert [(one["type"], one["line"], one["pointer"]) for one in errors] == [
        ("error", 2, "/unit_price"),
        ("error", 4, ""),
        ("error", 5, "/stock"),
        ("error", 7, ""),
    ]
    assert "send an integer" in errors[0]["detail"]
    assert summary.pop("seconds") >= 0
    assert summary == {"type": "summary", "lines": 7, "imported": 2, "changed": 2, "errors": 4}
    kept = await rows(shop, "SELECT product_id FROM products WHERE product_id LIKE %s ORDER BY 1", f"{name}%")
    assert kept == [(f"{name}-1",), (f"{name}-6",)]


async def test_an_import_sent_again_changes_nothing(shop: CatalogueClient, name: str) -> None:
    content = lines(*({"product_id": f"{name}-{number}", **CUP} for number in range(10)))
    assert (await import_(shop, content))[-1]["changed"] == 10
    again = (await import_(shop, content))[-1]
    assert (again["imported"], again["changed"]) == (10, 0)
    assert len(await rows(shop, "SELECT FROM outbox WHERE key LIKE %s", f"{name}%")) == 10


async def test_an_import_may_be_larger_than_any_other_body_and_its_last_line_open(
    shop: CatalogueClient, name: str
) -> None:
    count, piece = 3000, {**CUP, "description": "x" * 300}
    body = lines(*({"product_id": f"{name}-{number}", **piece} for number in range(count)))[:-1]
    assert len(body) > 1_000_000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_007):
            yield body[start : start + 10_007]

    summary = (await import_(shop, pieces()))[-1]
    assert (summary["type"], summary["lines"], summary["imported"]) == ("summary", count, count)


async def test_errors_beyond_a_thousand_are_counted_and_not_listed(shop: CatalogueClient, name: str) -> None:
    found = await import_(shop, lines(*([{"product_id": name}] * 1500)))
    assert len([one for one in found if one["type"] == "error"]) == 1000
    assert (found[-1]["errors"], found[-1]["imported"]) == (1500, 0)


async def test_an_import_of_another_media_type_is_refused(shop: CatalogueClient) -> None:
    refused = await shop.http.post("/v1/products/import", json=[])
    assert problem(refused) == (415, "unsupported-media-type")


async def test_an_empty_import_is_a_summary_of_nothing(shop: CatalogueClient) -> None:
    (summary,) = await import_(shop, b"")
    assert (summary["lines"], summary["imported"]) == (0, 0)


async def test_another_systems_product_is_in_the_topic_under_its_own_version(
    external: CatalogueClient, name: str
) -> None:
    await external.cached_products.put(product("other"))
    reply = await external.http.put(f"/v1/products/{name}", json={**CUP, "version": 7})
    assert (reply.status_code, reply.headers["etag"]) == (201, '"7"')
    assert await newest(external, name) == reply.json()
    assert await rows(external, "SELECT FROM products WHERE product_id = %s", name) == []


async def test_another_system_must_send_versions_that_rise(external: CatalogueClient, name: str) -> None:
    await external.cached_products.put_as_sent(product(name, version=7))
    path = f"/v1/products/{name}"
    missing = await external.http.put(path, json=CUP)
    assert (problem(missing), missing.json()["errors"][0]["pointer"]) == ((422, "invalid-body"), "/version")
    late = await external.http.put(path, json={**CUP, "version": 6})
    assert (problem(late), late.json()["current"]) == ((409, "version-too-low"), "7")
    assert (await external.http.put(path, json={**CUP, "version": 7})).status_code == 200


@pytest.mark.parametrize("version", [0, -1, 2**53, 2**70])
async def test_a_version_that_no_reader_takes_is_refused(
    external: CatalogueClient, name: str, version: int
) -> None:
    sent = {**CUP, "version": version}
    for method, body in (("PUT", sent), ("PATCH", {"stock": 1, "version": version})):
        refused = await external.http.request(method, f"/v1/products/{name}", json=body)
        assert (problem(refused), refused.json()["errors"][0]["pointer"]) == (
            (422, "invalid-body"),
            "/version",
        )
    error, summary = await import_(external, lines({"product_id": name, **sent}))
    assert (error["pointer"], summary["imported"]) == ("/version", 0)


async def test_a_patch_of_another_systems_product_starts_from_what_is_known(
    external: CatalogueClient, name: str
) -> None:
    await external.cached_products.put_as_sent(product(name, version=7))
    path = f"/v1/products/{name}"
    stale = await external.http.patch(path, json={"stock": 1, "version": 8}, headers={"if-match": '"6"'})
    assert problem(stale) == (412, "precondition-failed")
    done = await external.http.patch(path, json={"stock": 1, "version": 8}, headers={"if-match": '"7"'})
    assert done.status_code == 200, done.text
    record = await newest(external, name)
    assert (record["stock"], record["unit_price"], record["version"]) == (1, 1450, 8)


async def test_an_import_of_another_system_goes_to_the_topic(external: CatalogueClient, name: str) -> None:
    await external.cached_products.put_as_sent(product(f"{name}-2", version=7))
    *errors, summary = await import_(
        external,
        lines(
            {"product_id": f"{name}-1", **CUP, "version": 1},
            {"product_id": f"{name}-2", **CUP, "version": 6},
            {"product_id": f"{name}-3", **CUP},
            {"product_id": f"{name}-4", **CUP, "version": 3},
        ),
    )
    assert [(one["line"], one["pointer"]) for one in errors] == [(3, "/version"), (2, "/version")]
    assert (summary["imported"], summary["changed"], summary["errors"]) == (2, 2, 2)
    assert (await newest(external, f"{name}-4"))["version"] == 3
