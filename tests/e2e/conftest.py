"""A whole cluster for the end-to-end tests: one for the session, a namespace of its own for every test."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from tests.directories import passable_directory
from tests.e2e import cluster as clusters
from tests.e2e.cluster import (
    KUBECTL_DIR,
    KUBECTL_VERSIONS,
    ROOT,
    SPDY_KUBECTL_VERSION,
    Cluster,
    Kubectl,
    find_kubectl,
    new_cluster,
)
from tests.e2e.scenario import Scenario
from tests.e2e.user import User


@pytest.fixture(scope="session")
def sample_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample image as an OCI archive."""
    archive = tmp_path_factory.mktemp("image") / "sample.tar"
    subprocess.run([sys.executable, ROOT / "deploy" / "image", archive], check=True, capture_output=True)
    return archive


@pytest.fixture(scope="session")
def cluster(sample_archive: Path) -> Iterator[Cluster]:
    """The session's cluster, up and with the sample image loaded; purged at the end."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with passable_directory() as directory:
        made = new_cluster(directory)
        made.network.create()
        try:
            made.up()
            made.flotilla("image", "load", str(sample_archive), f"--node-dir={made.data_dir / 'node'}")
            yield made
        finally:
            made.down("--purge")
            made.network.delete()


@contextmanager
def _namespace(cluster: Cluster) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    manifest = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"
    cluster.flotilla("apply", "-f", "-", stdin=manifest)
    yield name
    cluster.flotilla("delete", "namespace", name, "--no-wait")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for one test, deleted with everything in it afterwards."""
    with _namespace(cluster) as name:
        yield name


@pytest.fixture(params=KUBECTL_VERSIONS)
def kubectl(request: pytest.FixtureRequest, cluster: Cluster) -> Kubectl:
    """kubectl in each version that the tests are run with."""
    return _kubectl(cluster, request.param)


def _kubectl(cluster: Cluster, version: str) -> Kubectl:
    program = find_kubectl(version)
    if program is None:
        pytest.skip(f"kubectl {version} is not in {KUBECTL_DIR}: run deploy/fetch-kubectl")
    return Kubectl(cluster, program, version)


@pytest.fixture(scope="module", params=(*KUBECTL_VERSIONS, SPDY_KUBECTL_VERSION))
def user(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[User]:
    """A user of each kubectl that streams are tested with, in a namespace that a module's tests share."""
    with _namespace(cluster) as name:
        yield User(_kubectl(cluster, request.param), name)


@pytest.fixture
def scenario(cluster: Cluster, namespace: str) -> Scenario:
    """The session's cluster, a namespace and the newest kubectl."""
    return Scenario(cluster, _kubectl(cluster, KUBECTL_VERSIONS[0]), namespace)


@pytest.fixture(scope="session")
def e2e() -> ModuleType:
    """The functions and classes of :mod:`tests.e2e.cluster`, for tests that need clusters of their own."""
    return clusters
