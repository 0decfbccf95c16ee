"""The image and docker-compose.yml name what there is. `make test-containers` runs them."""

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from click.testing import CliRunner

from cli.main import COMMANDS, cartstream
from ops.overview.targets import given
from ops.page.settings import PageSettings
from topics.groups import GROUPS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PRODUCT = {name: service for name, service in COMPOSE["services"].items() if "CARTSTREAM" in service["image"]}
"""The services of the product, without servers."""
COMMANDS_OF_COMPOSE = sorted({service["command"] for service in PRODUCT.values()})
ONCE = {"topics", "migrate", "products"}


@pytest.fixture(scope="module")
def requirements() -> ModuleType:
    path = ROOT / "deploy" / "image" / "requirements.py"
    spec = importlib.util.spec_from_file_location("image_requirements", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_image_contains_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {
        name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    copied = set(re.findall(r"^COPY (\w+) \1$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == packages
    context = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{package}" for package in packages} <= set(context)


def test_the_image_has_what_the_product_needs_and_no_extras(requirements: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {requirements.normalised(requirement) for requirement in project["dependencies"]}
    lock = (ROOT / "requirements.lock").read_text()
    names = set(requirements.blocks(requirements.needed(lock, wanted)))
    assert wanted | {"psycopg-binary", "psycopg-pool", "cryptography", "mode-streaming", "httptools"} <= names
    extras = {
        requirements.normalised(requirement)
        for extra in project["optional-dependencies"].values()
        for requirement in extra
    }
    assert names & extras == set()


def test_a_package_that_the_lock_lacks_is_named(requirements: ModuleType) -> None:
    with pytest.raises(SystemExit, match="lacks newcomer: renew it"):
        requirements.needed("click==8.3.3 \\\n    # via cartstream (pyproject.toml)\n", {"click", "newcomer"})


def test_compose_runs_every_process_and_two_of_each() -> None:
    count = dict.fromkeys(COMMANDS_OF_COMPOSE, 0)
    for name, service in PRODUCT.items():
        if name not in ONCE and "profiles" not in service:
            count[service["command"]] += 1
    agents = {group.command for group in GROUPS} - {"sinks history"}
    assert {command for command, number in count.items() if number == 2} == {"gateway", "jobs"} | agents
    assert "sinks history" in COMMANDS_OF_COMPOSE


@pytest.mark.parametrize("command", COMMANDS_OF_COMPOSE)
def test_every_command_of_compose_exists(command: str) -> None:
    shown = CliRunner().invoke(cartstream, [*command.split(), "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"Usage: cartstream {' '.join(word for word in command.split() if word[0] != '-')}" in shown.output


def test_no_service_of_the_product_can_do_more_than_it_must() -> None:
    for name, service in PRODUCT.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["mem_limit"], name
        written = {folder.split(":")[0] for folder in service["tmpfs"]}
        written |= {volume.split(":")[1] for volume in service.get("volumes", [])}
        assert written == {"/tmp", "/var/lib/cartstream"}, name


def test_every_secret_and_volume_of_compose_is_used_and_made() -> None:
    services = COMPOSE["services"].values()
    assert {name for service in services for name in service.get("secrets", [])} == set(COMPOSE["secrets"])
    named = {
        volume.split(":")[0]
        for service in services
        for volume in service.get("volumes", [])
        if not volume.startswith("./")
    }
    assert named == set(COMPOSE["volumes"])
    script = (ROOT / "deploy" / "compose" / "make-secrets.sh").read_text()
    assert set(re.findall(r"^  write (\S+)", script, re.MULTILINE)) == set(COMPOSE["secrets"])


def test_only_this_host_reaches_what_compose_publishes_and_the_operations_page_wants_a_token() -> None:
    published = {port for service in COMPOSE["services"].values() for port in service.get("ports", [])}
    assert {port for port in published if not port.startswith("127.0.0.1:")} == set()
    ops = PRODUCT["ops"]
    assert "ops-token" in ops["secrets"]
    assert ops["environment"]["CARTSTREAM_OPS_TOKEN_FILE"] == "/run/secrets/ops-token"
    gateway = PRODUCT["gateway-1"]["environment"]
    (port,) = ops["ports"]
    assert gateway["CARTSTREAM_OPS_URL"] == f"http://{port.removesuffix(':8030')}/ops"


def test_the_passwords_of_compose_are_made_once_and_good_enough(tmp_path: Path) -> None:
    script = shutil.copy(ROOT / "deploy" / "compose" / "make-secrets.sh", tmp_path)

    def made() -> dict[str, str]:
        subprocess.run(["sh", script], check=True)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    first = made()
    assert set(first) == set(COMPOSE["secrets"])
    assert made() == first
    settings = PageSettings(ops_host="0.0.0.0", ops_token=first["ops-token"].removesuffix("\n"))
    assert settings.ops_token is not None


def test_every_file_that_compose_mounts_is_there() -> None:
    mounted = {
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    }
    assert {path for path in mounted if not (ROOT / path).exists()} == set()


def test_prometheus_the_operations_page_and_the_proxy_name_every_process() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy" / "compose" / "prometheus.yml").read_text())
    scraped, looked_up = set(), []
    for job in prometheus["scrape_configs"]:
        scraped |= {target.split(":")[0] for group in job["static_configs"] for target in group["targets"]}
        looked_up += job.get("dns_sd_configs", [])
    processes = set(PRODUCT) - set(ONCE) - {"mailbox"}
    optional = sorted(name for name in processes if "profiles" in PRODUCT[name])
    assert looked_up == [{"names": optional, "type": "A", "port": 9400}]
    assert scraped == processes - set(optional)
    shown = {
        target.name: target.address
        for target in given(PRODUCT["ops"]["environment"]["CARTSTREAM_OPS_TARGETS"])
    }
    assert shown == {
        name: f"http://{name}:{8000 if PRODUCT[name]['command'] == 'gateway' else 9400}" for name in scraped
    }
    proxy = (ROOT / "deploy" / "compose" / "haproxy.cfg").read_text()
    gateways = {name for name, service in PRODUCT.items() if service["command"] == "gateway"}
    assert set(re.findall(r"^    server (\S+)", proxy, re.MULTILINE)) == gateways


def test_the_images_that_are_made_locally_are_those_of_compose() -> None:
    # Debian has no Grafana.
    made = {name: service for name, service in COMPOSE["services"].items() if name != "grafana"}
    variables = {service["image"].removeprefix("${").split(":-")[0] for service in made.values()}
    local = dict(
        line.split("=")
        for line in (ROOT / "deploy" / "local" / "images.env").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    assert set(local) == variables
    script = (ROOT / "deploy" / "local" / "make-images.sh").read_text()
    assert {image for image in local.values() if image not in script} == set()


def test_every_command_has_its_own_help() -> None:
    for name in COMMANDS:
        assert CliRunner().invoke(cartstream, [name, "--help"]).exit_code == 0
