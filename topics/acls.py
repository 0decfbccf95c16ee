"""The table of topics/access.py as ACLs of a cluster: printed for `kafka-acls`, or made there."""

import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from runtime.kafka.internals import send_request
from runtime.kafka.rights import Operation
from runtime.owners import ProductsOwner
from runtime.settings import KafkaSettings
from topics.access import Resource, Role, Rule
from topics.cluster import admin_client
from topics.errors import TopicsRefusedError
from topics.names import in_kafka

PRINCIPAL: Final = f"User:{in_kafka('cartstream')}-{{role}}"
"""Whom the brokers know as a role, unless somebody says otherwise."""

_ANY, _LITERAL, _ALLOW = 1, 3, 3
_EVERY_HOST: Final = "*"
_TYPES: Final = {Resource.TOPIC: 2, Resource.GROUP: 3, Resource.CLUSTER: 4}


class Acl(NamedTuple):
    """A rule for a principal, such as `User:cartstream-gateway`, from any host."""

    principal: str
    rule: Rule


def acls(roles: Iterable[Role], owner: ProductsOwner, principal: str = PRINCIPAL) -> list[Acl]:
    """The ACLs of the roles; `{role}` in `principal` becomes the role's name."""
    return [Acl(principal.replace("{role}", role.name), rule) for role in roles for rule in role.rules(owner)]


def commands(wanted: Sequence[Acl], bootstrap: str) -> list[str]:
    """Commands for a shell, one for each principal and resource."""

    def place(acl: Acl) -> tuple[str, Resource, str]:
        return acl.principal, acl.rule.resource, acl.rule.name

    found = []
    for (principal, resource, name), group in groupby(wanted, place):
        operations = [part for acl in group for part in ("--operation", acl.rule.operation.label)]
        on = ["--cluster"] if resource is Resource.CLUSTER else [f"--{resource}", name]
        words = ["kafka-acls", "--bootstrap-server", bootstrap, "--command-config", "admin.properties"]
        found.append(shlex.join([*words, "--add", "--allow-principal", principal, *operations, *on]))
    return found


async def make(kafka: KafkaSettings, wanted: Sequence[Acl]) -> list[Acl]:
    """Make those that the cluster does not have, and return them. Nothing is taken away.

    Raises TopicsError: the cluster does not answer, has no authorizer, or does not let this client do it.
    """
    async with admin_client(kafka) as admin:
        present = {
            acl for principal in {each.principal for each in wanted} for acl in await _of(admin, principal)
        }
        absent = [acl for acl in wanted if acl not in present]
        for acl in absent:
            await _make(admin, acl)
    return absent


async def _of(admin: AIOKafkaAdminClient, principal: str) -> list[Acl]:
    """Those of a principal that are like ours: by name, from any host."""
    request = DescribeAclsRequest(_ANY, None, _ANY, principal, None, _ANY, _ALLOW)
    answer = (await send_request(admin, request)).to_object()
    _stop_at(answer, f"to list the ACLs of {principal}")
    types = {number: resource for resource, number in _TYPES.items()}
    operations = {int(operation) for operation in Operation}
    return [
        Acl(
            principal,
            Rule(types[found["resource_type"]], found["resource_name"], Operation(acl["operation"])),
        )
        for found in answer["resources"]
        if found["resource_type"] in types and found["resource_pattern_type"] == _LITERAL
        for acl in found["acls"]
        if acl["host"] == _EVERY_HOST and acl["operation"] in operations
    ]


async def _make(admin: AIOKafkaAdminClient, acl: Acl) -> None:
    resource, name, operation = acl.rule
    request = CreateAclsRequest(
        _TYPES[resource], name, _LITERAL, acl.principal, _EVERY_HOST, operation, _ALLOW
    )
    (answer,) = (await send_request(admin, request)).to_object()["creation_responses"]
    _stop_at(answer, f"an ACL of {acl.principal}: {acl.rule}")


def _stop_at(answer: dict[str, Any], what: str) -> None:
    if code := answer["error_code"]:
        reason = answer["error_message"] or for_code(code).__name__
        raise TopicsRefusedError(f"Kafka refused {what}: {reason}")
