"""HTTP clients of a gateway."""

import httpx

from tests.support.contract import check_answer


def http_client(url: str) -> httpx.AsyncClient:
    """A client of the gateway at `url`, more patient than any gateway, with room for many requests.

    Every answer that it gets is compared with the OpenAPI document.
    """
    # Reading the certificates of the system takes longer than most requests here, and none is encrypted.
    return httpx.AsyncClient(
        base_url=url,
        timeout=60,
        limits=httpx.Limits(max_connections=200),
        verify=False,
        event_hooks={"response": [check_answer]},
    )


async def has_sample(http: httpx.AsyncClient, sample: str, value: float) -> bool:
    """Whether a gateway's metric has the value; `sample` has its labels, one not there yet is 0."""
    lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{sample} ")) == value
