"""Where the rules of Prometheus are."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy" / "prometheus" / "alerts.yml"
MISSING: Final = "alerts are NOT tested: promtool is missing (apt-get install prometheus)"
