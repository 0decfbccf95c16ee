"""The topics as the Helm chart has them, for Strimzi: `python -m topics.strimzi` renews the file."""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from topics.registry import TOPICS

CHART_FILE: Final = Path("deploy") / "helm" / "cartstream" / "files" / "topics.json"
_OF_THE_CLUSTER: Final = "min.insync.replicas"
"""The chart sets it: it depends on how many copies the cluster keeps."""


def chart_topics() -> list[dict[str, Any]]:
    """Name and settings of every topic; partitions and copies are values of the chart."""
    return [
        {
            "name": spec.name,
            "config": {
                name: value
                for name, value in sorted(spec.configs(replicas=3).items())
                if name != _OF_THE_CLUSTER
            },
        }
        for spec in TOPICS
    ]


def rendered() -> str:
    """The text of the file."""
    return msgspec.json.format(msgspec.json.encode(chart_topics())).decode() + "\n"


if __name__ == "__main__":
    if not CHART_FILE.parent.exists():
        sys.exit(f"{CHART_FILE.parent} is not here: run this in a checkout of cartstream")
    CHART_FILE.write_text(rendered())
