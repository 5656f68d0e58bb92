"""One server for all tests here, a namespace for each of them, and every kubectl that ``deploy/test`` has fetched."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.integration.kubectl.lab import KUBECTL_DIR, Kubectl, Server

VERSIONS = ("1.31", "1.35")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Every test here needs etcd."""
    item.add_marker(pytest.mark.etcd)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with an etcd, both running."""
    made = Server()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@contextmanager
def _kubectl(server: Server, version: str, home: Path) -> Iterator[Kubectl]:
    program = KUBECTL_DIR / f"kubectl-{version}"
    if not program.exists():
        pytest.skip(f"{program} is missing: run deploy/fetch-kubectl")
    name = f"test-{uuid.uuid4().hex[:8]}"
    config = yaml.safe_load(server.kubeconfig.read_text("utf-8"))
    for context in config["contexts"]:
        context["context"]["namespace"] = name
    (home / "kubeconfig").write_text(yaml.safe_dump(config), "utf-8")
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield Kubectl(server, program, version, home, name)
    server.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(params=VERSIONS)
def kubectl(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Kubectl]:
    """A kubectl of each version, whose commands go to a namespace that is made for the test."""
    with _kubectl(server, request.param, tmp_path) as made:
        yield made


@pytest.fixture
def newest_kubectl(server: Server, tmp_path: Path) -> Iterator[Kubectl]:
    """The newest kubectl alone, for what takes long and depends on the server."""
    with _kubectl(server, VERSIONS[-1], tmp_path) as made:
        yield made
