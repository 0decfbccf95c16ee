"""The Helm chart: what it renders is valid, and what it says of topics, groups and commands is true.

Rendered by Helm, as `make helm` builds it or as it is installed; validated with the schemas of Kubernetes.
Those of KEDA, Strimzi and the Prometheus operator are not here: of their resources only single fields are
compared.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from cli.main import cartstream
from ops.overview.targets import given
from runtime.owners import ProductsOwner
from topics.access import REPARTITION, ROLES, Resource
from topics.groups import GROUPS
from topics.registry import TOPICS
from topics.strimzi import CHART_FILE, bare, rendered

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "cartstream"
BUILT = ROOT / "build" / "bin" / "helm"
HELM = str(BUILT) if BUILT.exists() else shutil.which("helm")
OLDEST, NEWEST = "1.27", "1.37"
"""Of Kubernetes: the one that the chart names, and the newest with schemas here."""
FOREIGN = {"ScaledObject", "KafkaTopic", "KafkaUser", "ServiceMonitor"}

AGENTS = ("compaction", "merges", "postgres", "redis", "mail", "history")
EVERYTHING = {
    "image": {"digest": "sha256:" + "a" * 64, "pullSecrets": [{"name": "registry"}]},
    "partitions": 48,
    "config": {"CARTSTREAM_CART_IDLE_LIMIT_S": 2592000, "CARTSTREAM_HISTORY": True},
    "serviceAccountName": "shop",
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "carts", "operator": "Exists"}],
    "extraVolumes": [{"name": "kafka", "secret": {"secretName": "kafka"}}],
    "extraVolumeMounts": [{"name": "kafka", "mountPath": "/run/kafka", "readOnly": True}],
    "agents": {"mail": {"enabled": True}, "history": {"enabled": True}},
    "ops": {
        "enabled": True,
        "secret": {"name": "operator", "keys": ["CARTSTREAM_OPS_TOKEN", "CARTSTREAM_POSTGRES_URL"]},
    },
    "networkPolicy": {
        "gatewayFrom": [{"namespaceSelector": {}}],
        "metricsFrom": [{"namespaceSelector": {}}],
        "opsFrom": [{"namespaceSelector": {}}],
    },
    "serviceMonitor": {"enabled": True, "tokenSecret": {"name": "token"}},
    "keda": {"enabled": True, "authenticationRef": "kafka", "metadata": {"sasl": "scram_sha512"}},
    "prefix": "shop-a",
    "strimzi": {"enabled": True, "namespace": "kafka", "users": {"enabled": True, "authentication": "tls"}},
    "storageClassName": "fast",
}
LITTLE = {
    "gateway": {"autoscaling": {"enabled": False}, "replicas": 1},
    "migrate": {"enabled": False},
    "topics": {"allowSingle": True},
    "podDisruptionBudgets": False,
    "networkPolicy": {"enabled": False},
}
WAYS = {"default": {}, "everything": EVERYTHING, "little": LITTLE}

needs_helm = pytest.mark.skipif(HELM is None, reason="needs Helm: run `make helm`, which builds it")


def helm(values: dict[str, Any], folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "values.yaml").write_text(json.dumps(values))
    assert HELM is not None
    return subprocess.run(
        [
            *(HELM, "template", "shop", str(CHART)),
            # A Helm that is built from its module takes an old Kubernetes for what there is.
            *("--namespace", "shop", "--kube-version", NEWEST),
            *("--values", str(folder / "values.yaml")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[dict[str, Any]]]:
    """All resources, with the values of one of the WAYS."""

    @cache
    def resources(way: str) -> list[dict[str, Any]]:
        result = helm(WAYS[way], tmp_path_factory.mktemp("chart"))
        assert result.returncode == 0, result.stderr
        return [document for document in yaml.safe_load_all(result.stdout) if document]

    return resources


def one(resources: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in resources if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pods(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod specs, by kind and name."""
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["spec"]["template"]["spec"]
        for each in resources
        if each["kind"] in {"Deployment", "StatefulSet", "Job"}
    }


def variables(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


@needs_helm
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_what_is_rendered(
    render: Callable[[str], list[dict[str, Any]]], way: str, version: str
) -> None:
    resources = render(way)
    for each in resources:
        if each["kind"] not in FOREIGN:
            kubernetes_validate.validate(each, version, strict=True)
    names = [(each["kind"], each["metadata"]["name"]) for each in resources]
    assert len(names) == len(set(names))


@needs_helm
@pytest.mark.parametrize("way", WAYS)
def test_no_pod_can_do_more_than_it_must(render: Callable[[str], list[dict[str, Any]]], way: str) -> None:
    for name, pod in pods(render(way)).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"], name
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"], name
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claimed = {"data"} if name == "StatefulSet/shop-cartstream-compaction" else set()
        assert mounted == {volume["name"] for volume in pod["volumes"]} | claimed, name


@needs_helm
def test_every_command_of_a_pod_exists(render: Callable[[str], list[dict[str, Any]]]) -> None:
    commands = {" ".join(pod["containers"][0]["args"]) for pod in pods(render("everything")).values()}
    commands |= {" ".join(pod["containers"][0]["args"]) for pod in pods(render("little")).values()}
    assert {"gateway", "jobs", "ops", "migrate", "topics apply --allow-single"} < commands
    assert {group.command for group in GROUPS} < commands
    for command in commands:
        shown = CliRunner().invoke(cartstream, [*command.split(), "--help"])
        assert shown.exit_code == 0, command


@needs_helm
def test_an_agents_pod_is_the_same_member_of_its_group_when_it_comes_again(
    render: Callable[[str], list[dict[str, Any]]],
) -> None:
    for name in AGENTS:
        pod = one(render("everything"), "StatefulSet", f"shop-cartstream-{name}")["spec"]["template"]["spec"]
        assert variables(pod)["CARTSTREAM_GROUP_INSTANCE_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@needs_helm
def test_the_local_store_of_compaction_outlives_its_pod(
    render: Callable[[str], list[dict[str, Any]]],
) -> None:
    stateful = {
        each["metadata"]["name"]: each["spec"] for each in render("default") if each["kind"] == "StatefulSet"
    }
    claims = {name for name, spec in stateful.items() if "volumeClaimTemplates" in spec}
    assert claims == {"shop-cartstream-compaction"}
    assert "storageClassName" not in stateful["shop-cartstream-compaction"]["volumeClaimTemplates"][0]["spec"]


@needs_helm
def test_lag_scales_every_agent_up_to_one_worker_a_partition(
    render: Callable[[str], list[dict[str, Any]]],
) -> None:
    everything = render("everything")
    read = {(group.command, f"shop-a.{bare(group.name)}", f"shop-a.{bare(group.topic)}") for group in GROUPS}
    for name in AGENTS:
        scaled = one(everything, "ScaledObject", f"shop-cartstream-{name}")["spec"]
        stateful = one(everything, scaled["scaleTargetRef"]["kind"], scaled["scaleTargetRef"]["name"])["spec"]
        assert scaled["maxReplicaCount"] == EVERYTHING["partitions"]
        assert "replicas" not in stateful
        (trigger,) = scaled["triggers"]
        command = " ".join(stateful["template"]["spec"]["containers"][0]["args"])
        assert (command, trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"]) in read
        assert trigger["authenticationRef"] == {"name": "kafka"}
        assert trigger["metadata"]["sasl"] == "scram_sha512"


@needs_helm
def test_strimzi_gets_the_topics_of_the_registry_and_they_are_not_applied_twice(
    render: Callable[[str], list[dict[str, Any]]],
) -> None:
    everything = render("everything")
    topics = {each["spec"]["topicName"]: each["spec"] for each in everything if each["kind"] == "KafkaTopic"}
    assert set(topics) == {f"shop-a.{bare(spec.name)}" for spec in TOPICS}
    for spec in TOPICS:
        topic = topics[f"shop-a.{bare(spec.name)}"]
        assert topic["partitions"] == EVERYTHING["partitions"]
        assert topic["config"] == spec.configs(replicas=3)
    assert "Job/shop-cartstream-topics" not in pods(everything)
    assert "Job/shop-cartstream-topics" in pods(render("default"))


@needs_helm
def test_each_role_is_a_user_with_the_rights_of_the_table(
    render: Callable[[str], list[dict[str, Any]]],
) -> None:
    users = {
        each["metadata"]["name"]: each["spec"] for each in render("everything") if each["kind"] == "KafkaUser"
    }
    roles = [role for role in ROLES if role is not REPARTITION]
    assert set(users) == {f"shop-a.cartstream-{role.name}" for role in roles}
    for role in roles:
        given = {
            (acl["resource"]["type"], acl["resource"].get("name"), operation)
            for acl in users[f"shop-a.cartstream-{role.name}"]["authorization"]["acls"]
            for operation in acl["operations"]
        }
        assert given == {
            (
                rule.resource,
                None if rule.resource is Resource.CLUSTER else f"shop-a.{bare(rule.name)}",
                rule.operation.label,
            )
            for rule in role.rules(ProductsOwner.INTERNAL)
        }


@needs_helm
@pytest.mark.parametrize("authentication", ["tls", "scram-sha-512"])
def test_each_process_connects_as_the_user_of_its_role(authentication: str, tmp_path: Path) -> None:
    users = {"enabled": True, "authentication": authentication}
    result = helm(EVERYTHING | {"strimzi": {"enabled": True, "users": users}}, tmp_path)
    resources = [document for document in yaml.safe_load_all(result.stdout) if document]
    by_command = {
        command: f"shop-a.cartstream-{role.name}" for role in ROLES for command in role.commands.split(", ")
    }
    for name, pod in pods(resources).items():
        volumes = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in pod["volumes"]}
        user = by_command.get(" ".join(pod["containers"][0]["args"]))
        assert (name, volumes.get("kafka-user")) == (name, user)
        assert user or name.startswith("Job/")
        if user and authentication == "scram-sha-512":
            assert variables(pod)["CARTSTREAM_KAFKA_SASL_USERNAME"] == user
            assert "CARTSTREAM_KAFKA_TLS_CERT" not in variables(pod)
        elif user:
            assert variables(pod)["CARTSTREAM_KAFKA_TLS_KEY"] == "/run/secrets/kafka-user/user.key"


def test_topics_and_rights_of_the_chart_are_those_of_the_tables() -> None:
    assert (ROOT / CHART_FILE).read_text() == rendered(), "run `.venv/bin/python -m topics.strimzi`"


@needs_helm
def test_schema_and_topics_come_before_the_processes(
    render: Callable[[str], list[dict[str, Any]]],
) -> None:
    weights = [
        int(
            one(render("default"), "Job", f"shop-cartstream-{name}")["metadata"]["annotations"][
                "helm.sh/hook-weight"
            ]
        )
        for name in ("migrate", "topics")
    ]
    assert weights == sorted(weights)


@needs_helm
def test_values_and_secrets_reach_the_processes(render: Callable[[str], list[dict[str, Any]]]) -> None:
    gateway = pods(render("everything"))["Deployment/shop-cartstream-gateway"]
    found = variables(gateway)
    assert found["CARTSTREAM_CART_IDLE_LIMIT_S"] == "2592000"
    assert found["CARTSTREAM_HISTORY"] == "true"
    assert found["CARTSTREAM_PARTITIONS"] == "48"
    (secret,) = [volume for volume in gateway["volumes"] if volume["name"] == "secret"]
    assert secret["secret"]["secretName"] == "cartstream"
    assert found["CARTSTREAM_POSTGRES_URL_FILE"] == "/run/secrets/cartstream/CARTSTREAM_POSTGRES_URL"
    assert gateway["containers"][0]["image"] == "cartstream@sha256:" + "a" * 64


@needs_helm
def test_the_operations_page_finds_the_pods_of_every_process(
    render: Callable[[str], list[dict[str, Any]]],
) -> None:
    everything = render("everything")
    workloads = [each for each in everything if each["kind"] in {"Deployment", "StatefulSet"}]
    labels = {
        each["metadata"]["name"].removeprefix("shop-cartstream-"): each["spec"]["template"]["metadata"][
            "labels"
        ]
        for each in workloads
    }
    assert set(labels) == {"gateway", "jobs", "ops", *AGENTS}
    told = variables(pods(everything)["Deployment/shop-cartstream-ops"])
    found = {target.name: target for target in given(told["CARTSTREAM_OPS_TARGETS"])}
    assert set(found) == set(labels)
    del found["ops"]
    for name, target in found.items():
        assert target.is_resolved
        url = urlsplit(target.address)
        service = one(everything, "Service", str(url.hostname))["spec"]
        assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
        assert [port["port"] for port in service["ports"]] == [url.port]
        selected = [other for other, has in labels.items() if service["selector"].items() <= has.items()]
        assert selected == [name]
        pod = one(
            everything,
            "Deployment" if name in {"gateway", "jobs"} else "StatefulSet",
            f"shop-cartstream-{name}",
        )
        (container,) = pod["spec"]["template"]["spec"]["containers"]
        assert url.port in {port["containerPort"] for port in container["ports"]}
    # Prometheus asks each of them once: it does not take these services for its own.
    monitors = [
        each["spec"]["selector"]["matchLabels"] for each in everything if each["kind"] == "ServiceMonitor"
    ]
    assert len(monitors) == 2
    for monitor in monitors:
        services = [
            each["metadata"]["name"]
            for each in everything
            if each["kind"] == "Service" and monitor.items() <= each["metadata"]["labels"].items()
        ]
        assert services in (["shop-cartstream-gateway"], ["shop-cartstream-agents"])


@needs_helm
def test_the_operations_page_is_off_wants_a_token_and_lets_in_only_who_is_named(
    render: Callable[[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    assert "Deployment/shop-cartstream-ops" not in pods(render("default"))
    everything = render("everything")
    found = variables(pods(everything)["Deployment/shop-cartstream-ops"])
    assert found["CARTSTREAM_OPS_TOKEN_FILE"] == "/run/secrets/own/CARTSTREAM_OPS_TOKEN"
    assert found["CARTSTREAM_POSTGRES_URL_FILE"] == "/run/secrets/own/CARTSTREAM_POSTGRES_URL"
    assert found["CARTSTREAM_REDIS_URL_FILE"] == "/run/secrets/cartstream/CARTSTREAM_REDIS_URL"
    gateway = variables(pods(everything)["Deployment/shop-cartstream-gateway"])
    assert gateway["CARTSTREAM_POSTGRES_URL_FILE"] == "/run/secrets/cartstream/CARTSTREAM_POSTGRES_URL"
    assert "CARTSTREAM_OPS_TOKEN_FILE" not in gateway

    ops = {"matchLabels": one(everything, "Service", "shop-cartstream-ops")["spec"]["selector"]}
    for name in ("gateway", "metrics"):
        (rule,) = one(everything, "NetworkPolicy", f"shop-cartstream-{name}")["spec"]["ingress"]
        assert rule["from"] == [{"namespaceSelector": {}}, {"podSelector": ops}]
    policy = one(everything, "NetworkPolicy", "shop-cartstream-ops")["spec"]
    assert policy["ingress"] == [{"ports": [{"port": "http"}], "from": [{"namespaceSelector": {}}]}]

    result = helm({"ops": {"enabled": True}}, tmp_path)
    resources = [document for document in yaml.safe_load_all(result.stdout) if document]
    policy = one(resources, "NetworkPolicy", "shop-cartstream-ops")["spec"]
    assert "Ingress" in policy["policyTypes"]
    assert "ingress" not in policy
    (secret,) = [
        volume["secret"]
        for volume in pods(resources)["Deployment/shop-cartstream-ops"]["volumes"]
        if volume["name"] == "own-secret"
    ]
    assert (secret["secretName"], [item["key"] for item in secret["items"]]) == (
        "cartstream",
        ["CARTSTREAM_OPS_TOKEN"],
    )


@needs_helm
def test_a_pod_has_only_the_keys_that_it_is_told_of(tmp_path: Path) -> None:
    shared, own = ["CARTSTREAM_REDIS_URL", "CARTSTREAM_POSTGRES_URL"], ["CARTSTREAM_OPS_TOKEN"]
    for of_all, of_ops in ((shared, own), ([], own), ([*shared, *own], [])):
        values = {
            "secret": {"keys": of_all},
            "ops": {"enabled": True, "secret": {"name": "", "keys": of_ops}},
            "agents": {"mail": {"enabled": True}, "history": {"enabled": True}},
        }
        result = helm(values, tmp_path)
        assert result.returncode == 0, result.stderr
        found = pods([document for document in yaml.safe_load_all(result.stdout) if document])
        assert len(found) >= len(AGENTS) + 3
        for name, pod in found.items():
            # A volume of a Secret without items has all its keys.
            mounted = {
                volume["name"]: [item["key"] for item in volume["secret"].get("items") or [{"key": "all"}]]
                for volume in pod["volumes"]
                if "secret" in volume
            }
            is_ops = name == "Deployment/shop-cartstream-ops"
            expected = {"secret": of_all, "own-secret": of_ops if is_ops else []}
            assert mounted == {name: keys for name, keys in expected.items() if keys}, name
            mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
            assert mounts & set(expected) == set(mounted)


@needs_helm
@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"ops": {"enabled": True, "secret": {"keys": []}}}, "needs the key CARTSTREAM_OPS_TOKEN"),
        ({"gatway": {}}, "gatway"),
        ({"config": {"POSTGRES_URL": "x"}}, "POSTGRES_URL"),
        ({"agents": {"compaction": {"replicas": 17}}}, "agents.compaction.replicas is 17"),
    ],
)
def test_a_wrong_value_is_refused_and_named(values: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    result = helm(values, tmp_path)
    assert result.returncode != 0
    assert complaint in result.stderr
