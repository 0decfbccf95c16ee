"""A Prometheus over the processes of a stack, with the product's rules in haste."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, Self

import httpx
import yaml

from devstack.free_ports import free_ports
from tests.support.waiting import until_blocking

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy" / "prometheus" / "alerts.yml"
MISSING: Final = "alerts are NOT tested: prometheus is missing (apt-get install prometheus)"

_FOR: Final = "4s"
_WINDOW_S: Final = 20
_THRESHOLD_S: Final = {"CartstreamJobsNotDone": 25}
"""Other than _USUAL_S: how often the job is done has no setting, or a longer one."""
_USUAL_S: Final = 10
_SCRAPES: Final = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}


def prometheus() -> str | None:
    """Where the program is; Debian's package brings it, with promtool."""
    return shutil.which("prometheus")


def hasty(rules: dict[str, Any]) -> dict[str, Any]:
    """The rules with seconds in the place of minutes: what they look at, and for how long, is the same."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = _FOR
            threshold = _THRESHOLD_S.get(rule["alert"], _USUAL_S)
            expression = re.sub(r"\[\d+m\]", f"[{_WINDOW_S}s]", rule["expr"])
            expression = re.sub(r"offset \d+m", f"offset {_WINDOW_S}s", expression)
            expression = re.sub(r"time\(\) - \d+", f"time() - {_WINDOW_S}", expression)
            rule["expr"] = re.sub(r"> (?:60|900)\b", f"> {threshold}", expression)
    return rules


class Prometheus:
    """The server. It finds what it scrapes in a folder, as `deploy/prometheus/local.yml` has it."""

    def __init__(self, program: str, folder: Path, targets: Path) -> None:
        folder.mkdir()
        rules = folder / "alerts.yml"
        rules.write_text(yaml.safe_dump(hasty(yaml.safe_load(RULES.read_text()))))
        config = yaml.safe_load((RULES.parent / "local.yml").read_text())
        (job,) = config["scrape_configs"]
        (found,) = job["file_sd_configs"]
        found |= {"files": [str(targets / "*.json")], "refresh_interval": "1s"}
        config |= {"global": _SCRAPES, "rule_files": [str(rules)]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {alert["labels"]["alertname"] for alert in self.alerts() if alert["state"] == "firing"}

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that fire, or will if it goes on, with labels, value and since when."""
        found: list[dict[str, Any]] = self._get("/api/v1/alerts")["alerts"]
        return found

    def value(self, query: str) -> float | None:
        """The value of an instant query with one result; None without one."""
        result = self._get("/api/v1/query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    def until_ready(self) -> None:
        """Returns once it answers."""

        def answers() -> bool:
            assert self._process.poll() is None, "prometheus has ended"
            try:
                return httpx.get(f"{self._url}/-/ready", verify=False, timeout=60).is_success
            except httpx.HTTPError:
                return False

        until_blocking(answers, "prometheus ready")

    def _get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self._url}{path}", params=parameters, verify=False, timeout=60)
        assert answer.is_success, answer.text
        return answer.json()["data"]
