"""Private images in a cluster, as a user of kubectl meets them: secrets, events, digests, what a node has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flotilla.api.objects import KubeObject
from tests.e2e.cluster import Cluster, until
from tests.e2e.scenario import Scenario
from tests.integration.image_lab import entry, layer, make_image
from tests.integration.registry_lab import PASSWORD, USER, RealRegistry, running_registry, trusted

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.e2e]

BUSYBOX = Path("/bin/busybox").read_bytes()
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: main, image: "{image}", command: [/bin/sh, -c, read x], stdin: true}}]
"""


@pytest.fixture
def registry(cluster: Cluster, tmp_path: Path) -> Iterator[RealRegistry]:
    """A registry with TLS and a password in the cluster's network, its CA known to the node."""
    with running_registry(tmp_path / "registry", enter=cluster.command) as running, trusted(running):
        yield running


def waiting(scenario: Scenario, name: str) -> KubeObject:
    found: KubeObject = scenario.container_status(name).get("state", {}).get("waiting") or {}
    return found


def test_a_private_image(scenario: Scenario, registry: RealRegistry) -> None:
    """A pod backs off with the registry's words, and runs with its account's secret; what runs is not removed."""
    image = registry.push("team/app:v1", make_image([layer(entry("bin", None), entry("bin/sh", BUSYBOX))]))
    scenario.kubectl("apply", "-f", "-", stdin=POD.format(name="refused", image=image))
    until(lambda: waiting(scenario, "refused").get("reason") == "ImagePullBackOff")
    assert "authentication required" in waiting(scenario, "refused")["message"]
    login = (f"--docker-server={registry.address}", f"--docker-username={USER}", f"--docker-password={PASSWORD}")
    scenario.kubectl("create", "secret", "docker-registry", "login", *login)
    account = json.dumps({"imagePullSecrets": [{"name": "login"}]})
    scenario.kubectl("patch", "serviceaccount", "default", "-p", account)
    for name, told in (("first", "Successfully pulled image"), ("second", "already present on machine")):
        scenario.kubectl("apply", "-f", "-", stdin=POD.format(name=name, image=image))
        scenario.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")
        until(lambda name=name, told=told: told in scenario.kubectl("describe", "pod", name))  # type: ignore[misc]
    assert scenario.container_status("first")["imageID"].startswith(f"{registry.address}/team/app@sha256:")
    place = f"--node-dir={scenario.cluster.data_dir / 'node'}"
    listed = scenario.cluster.flotilla("image", "ls", "-o", "json", place).stdout
    [found] = [each for each in json.loads(listed) if image in each["names"]]
    assert found["inUse"]
    removing = scenario.cluster.flotilla("image", "rm", image, place, check=False)
    assert "is in use by container" in removing.stderr
    scenario.kubectl("delete", "pod", "refused", "first", "second")
