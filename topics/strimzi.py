"""Topics, and users with their rights, for the Helm chart: `python -m topics.strimzi` renews its file."""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from topics.access import REPARTITION, ROLES, Grant, Resource
from topics.names import in_kafka
from topics.registry import TOPICS

CHART_FILE: Final = Path("deploy") / "helm" / "cartstream" / "files" / "kafka.json"
_OF_THE_CLUSTER: Final = "min.insync.replicas"
"""The chart sets it: it depends on how many copies the cluster keeps."""


def bare(name: str) -> str:
    """A name of a topic or group without the prefix of this environment; the chart adds its own."""
    return name.removeprefix(in_kafka(""))


def chart_topics() -> list[dict[str, Any]]:
    """Name and settings of every topic; partitions and copies are values of the chart."""
    return [
        {
            "name": bare(spec.name),
            "config": {
                name: value
                for name, value in sorted(spec.configs(replicas=3).items())
                if name != _OF_THE_CLUSTER
            },
        }
        for spec in TOPICS
    ]


def chart_users() -> list[dict[str, Any]]:
    """What each role may do; with `owner`, only if that is who owns products.

    Without the one that moves carts: the chart knows one generation of their topics.
    """
    return [
        {"name": role.name, "acls": [acl for grant in role.grants for acl in _acls(grant)]}
        for role in ROLES
        if role is not REPARTITION
    ]


def _acls(grant: Grant) -> list[dict[str, Any]]:
    acl: dict[str, Any] = {
        "type": grant.resource,
        "operations": [operation.label for operation in grant.operations],
    }
    if grant.owner is not None:
        acl["owner"] = grant.owner
    if grant.resource is Resource.CLUSTER:
        return [acl]
    return [acl | {"name": bare(name)} for name in grant.names]


def rendered() -> str:
    """The text of the file."""
    document = {"topics": chart_topics(), "users": chart_users()}
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


if __name__ == "__main__":
    if not CHART_FILE.parent.exists():
        sys.exit(f"{CHART_FILE.parent} is not here: run this in a checkout of cartstream")
    CHART_FILE.write_text(rendered())
