"""HTTP clients of a gateway."""

import httpx


def http_client(url: str) -> httpx.AsyncClient:
    """A client of the gateway at `url`, more patient than any gateway, with room for many requests."""
    # Reading the certificates of the system takes longer than most requests here, and none is encrypted.
    return httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=200), verify=False)
