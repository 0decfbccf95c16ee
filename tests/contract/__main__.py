"""`python -m tests.contract`: thousands of generated requests against everything that `make run` starts.

Schemathesis makes them of the OpenAPI document: valid and invalid ones, each alone and in sequences, and
holds the answers against it with all its checks. The gateway is in production mode, and the caller a service
that may do everything. Exit status 1 if an answer is not as the document says.
"""

# It reports on standard output.
# ruff: noqa: T201

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx
from schemathesis.cli import schemathesis

from gateway.openapi import document
from tests.contract import hooks
from tests.demo.browser import whole_stack
from tests.support.production import PRODUCTION, bearer
from tests.support.waiting import until_blocking

CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
# With a key of sessions any session id is the proof of a cart: no id that is sent there would be refused.
ENVIRONMENT: Final = {
    **{name: value for name, value in PRODUCTION.items() if name != "CARTSTREAM_SESSION_KEY"},
    "CARTSTREAM_ACCESS_LOG": "false",
    "CARTSTREAM_HISTORY": "true",
    **{
        f"CARTSTREAM_RATE_{name}": "0"  # thousands of requests come from one caller
        for name in ("PER_ADDRESS", "PER_SHOPPER", "PER_SERVICE", "OF_MINTS", "OF_PRODUCTS")
    },
    "CARTSTREAM_LIVE_LIFETIME_S": "0.05",  # no stream keeps the next request waiting,
    "CARTSTREAM_LIVE_HEARTBEAT_S": "0.1",  # and looks at its lifetime as often as at that
}
PHASES: Final = 2
"""Phases that make as many requests as they are told: fuzzing, and sequences of requests."""


def main() -> int:
    """Exit status 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000, help="requests, about (default 5000)")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other requests (default 1)")
    parser.add_argument("--only", metavar="OPERATION", help="the id of one operation")
    asked = parser.parse_args()
    began = time.monotonic()
    os.environ.update(ENVIRONMENT)
    with (
        tempfile.TemporaryDirectory(prefix="cartstream-contract-") as folder,
        whole_stack(Path(folder)) as stack,
    ):
        proof = bearer("contract", "carts orders catalogue")
        _stock(stack.urls.gateway, proof)
        print(f"everything runs after {time.monotonic() - began:.0f} s", flush=True)
        status = _run(stack.urls.gateway, proof, asked.cases, asked.seed, asked.only)
    _report(time.monotonic() - began)
    return status


def _stock(url: str, proof: dict[str, str]) -> None:
    """Have products, and wait until the catalogue shows them."""
    with httpx.Client(base_url=url, headers=proof, verify=False, timeout=60) as http:
        for name in hooks.PRODUCTS:
            product = {"name": name.title(), "unit_price": 1450, "currency": "EUR", "stock": 1_000_000}
            http.put(f"/v1/products/{name}", json=product).raise_for_status()
        paths = [f"/v1/products/{name}" for name in hooks.PRODUCTS]
        until_blocking(
            lambda: all(http.get(path).status_code == HTTPStatus.OK for path in paths),
            "a catalogue that has them",
        )


def _run(url: str, proof: dict[str, str], cases: int, seed: int, only: str | None) -> int:
    operations = 1 if only else sum(len(set(item) - {"parameters"}) for item in document()["paths"].values())
    command = [
        *("--config-file", str(CONFIG), "run", f"{url}/openapi.json"),
        *("--header", f"Authorization: {proof['authorization']}"),
        # All checks are on; named here they would be so also where the file turns one off.
        *("--mode", "all", "--continue-on-failure"),
        *("--max-examples", str(max(1, cases // operations // PHASES)), "--seed", str(seed)),
        *("--suppress-health-check", "all", "--max-redirects", "0"),
        *(("--include-operation-id", only) if only else ()),
    ]
    found = schemathesis.main(command, prog_name="schemathesis", standalone_mode=False)
    return int(found or 0)


def _report(seconds: float) -> None:
    """The answers by status, and operations that never did what they are for."""
    by_status: Counter[int] = Counter()
    for (_, status), times in hooks.ANSWERS.items():
        by_status[status] += times
    told = ", ".join(f"{status}: {times}" for status, times in sorted(by_status.items()))
    done = {name for name, status in hooks.ANSWERS if status < 300}
    never = sorted({name for name, _ in hooks.ANSWERS} - done)
    print(f"{by_status.total()} requests in {seconds:.0f} s; {told}")
    print(f"{len(done)} operations have answered 2xx; never: {', '.join(never) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
