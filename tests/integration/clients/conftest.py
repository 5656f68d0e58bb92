"""One server for all tests here and a namespace for each of them."""

from __future__ import annotations

import os
import ssl
import urllib.request
import uuid
from collections.abc import Iterator

import pytest

from controlplane.pki import ensure_cluster_pki
from flotilla.api.objects import encode
from tests.integration.clients.restarting import RestartingServer
from tests.integration.kubectl.lab import DEADLINE_S, Server


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
def restarting() -> Iterator[RestartingServer]:
    """A server of the test's own, to be restarted."""
    made = RestartingServer()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def namespace(server: Server) -> Iterator[str]:
    """A namespace for one test, deleted with everything in it afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    _request(server, "POST", "/api/v1/namespaces", encode({"metadata": {"name": name}}))
    yield name
    _request(server, "DELETE", f"/api/v1/namespaces/{name}", None)


@pytest.fixture(autouse=True)
def no_other_cluster(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program and library finds the test's cluster, and no proxy, in its environment."""
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    for name in set(os.environ) & {"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"}:
        monkeypatch.delenv(name)


def _request(server: Server, method: str, path: str, body: bytes | None) -> None:
    pki = ensure_cluster_pki(server.directory / "pki")
    trust = ssl.create_default_context(cafile=str(pki.ca_file))
    trust.load_cert_chain(pki.admin.certificate, pki.admin.key)
    request = urllib.request.Request(server.url + path, data=body, method=method)
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, context=trust, timeout=DEADLINE_S).close()
