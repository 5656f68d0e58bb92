"""One server for all tests here and a namespace for each of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.integration.kubectl.lab import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with an etcd, both running."""
    made = Server()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def restarting() -> Iterator[Server]:
    """A server of the test's own, to be restarted."""
    made = Server()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def namespace(server: Server) -> Iterator[str]:
    """A namespace for one test, deleted with everything in it afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    server.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(autouse=True)
def no_other_cluster(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program and library finds the test's cluster, and no proxy, in its environment."""
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    for name in set(os.environ) & {"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"}:
        monkeypatch.delenv(name)
