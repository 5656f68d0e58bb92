"""lightkube, blocking and asynchronous: typed objects, every kind of patch, watches that outlive their connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from lightkube import AsyncClient, Client, KubeConfig, operators
from lightkube.codecs import load_all_yaml
from lightkube.core.exceptions import ApiError, ConditionError, ObjectDeleted
from lightkube.generic_resource import create_global_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, ServiceAccount
from lightkube.types import CascadeType, PatchType, on_error_retry

from tests.integration.kubectl.lab import Server

pytestmark = pytest.mark.etcd
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: busybox, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
"""


@pytest.fixture
def client(server: Server, namespace: str) -> Iterator[Client]:
    """A client whose calls go to the test's namespace."""
    settings = KubeConfig.from_file(str(server.kubeconfig))
    with Client(settings, namespace=namespace, field_manager="tester", trust_env=False) as made:
        yield made


def config_map(name: str, **data: str) -> ConfigMap:
    """A ConfigMap as a typed object."""
    return ConfigMap(metadata=ObjectMeta(name=name), data=data)


def data_of(client: Client, name: str) -> dict[str, str]:
    return client.get(ConfigMap, name).data or {}


def test_an_object_from_create_to_delete(client: Client, namespace: str) -> None:
    """A typed object comes back with what the server adds, and errors name what is wrong."""
    made = client.create(config_map("one", a="1"))
    assert made.metadata is not None
    assert (made.metadata.namespace, made.data) == (namespace, {"a": "1"})
    made.data = {"b": "2"}
    assert client.replace(made).data == {"b": "2"}
    with pytest.raises(ApiError) as stale:
        client.replace(made)
    assert (stale.value.status.code, stale.value.status.reason) == (409, "Conflict")
    with pytest.raises(ApiError) as twice:
        client.create(config_map("one"))
    assert twice.value.status.reason == "AlreadyExists"
    client.create(config_map("rehearsed"), dry_run=True)
    client.delete(ConfigMap, "one", cascade=CascadeType.BACKGROUND)
    with pytest.raises(ApiError) as gone:
        client.get(ConfigMap, "one")
    assert gone.value.status.details is not None
    assert (gone.value.status.details.kind, gone.value.status.details.name) == ("configmaps", "one")
    with pytest.raises(ApiError) as refused:
        client.create(Secret(metadata=ObjectMeta(name="s"), data={"a b": ""}))
    assert refused.value.status.details is not None
    assert [cause.field for cause in refused.value.status.details.causes or []] == ["data[a b]"]
    client.deletecollection(ConfigMap)


def test_patches(client: Client) -> None:
    """Each kind of patch does what its media type says."""
    for item in load_all_yaml(DEPLOYMENT):
        client.create(item)
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "busybox"}]}}}}

    def containers(patch: Any, patch_type: PatchType) -> list[str]:
        patched = client.patch(Deployment, "web", patch, patch_type=patch_type)
        assert patched.spec is not None and patched.spec.template.spec is not None
        return [container.name for container in patched.spec.template.spec.containers]

    assert sorted(containers(sidecar, PatchType.STRATEGIC)) == ["main", "sidecar"]
    assert containers(sidecar, PatchType.MERGE) == ["sidecar"]
    path = "/spec/template/spec/containers/0/name"
    assert containers([{"op": "replace", "path": path, "value": "other"}], PatchType.JSON) == ["other"]
    client.set(Deployment, "web", labels={"team": "blue"}, annotations={"note": "x"})
    labelled = client.get(Deployment, "web").metadata
    assert labelled is not None and labelled.labels == {"team": "blue"}
    scaled = client.patch(Deployment.Scale, "web", {"spec": {"replicas": 0}})
    assert scaled.spec is not None and scaled.spec.replicas == 0


def test_server_side_apply(client: Client) -> None:
    """Applied twice nothing changes; a conflict names the other manager, and force takes over."""
    first = [client.apply(item) for item in load_all_yaml(DEPLOYMENT)]
    again = [client.apply(item) for item in load_all_yaml(DEPLOYMENT)]
    assert [type(item) for item in first] == [Deployment, ServiceAccount]
    assert [item.metadata.uid for item in first] == [item.metadata.uid for item in again]
    assert first[1].metadata.resourceVersion == again[1].metadata.resourceVersion
    client.apply(config_map("shared", a="1", b="1"))
    with pytest.raises(ApiError) as conflict:
        client.apply(config_map("shared", a="2"), field_manager="other")
    assert 'conflict with "tester"' in conflict.value.status.message
    client.apply(config_map("shared", a="2"), field_manager="other", force=True)
    client.apply(config_map("shared", c="3"))
    assert data_of(client, "shared") == {"a": "2", "c": "3"}


def test_selections_and_pages(client: Client) -> None:
    """Lists come page by page, selected by any operator on labels and by fields."""
    for number in range(7):
        labels = {"number": str(number), **({"odd": "yes"} if number % 2 else {})}
        client.create(ConfigMap(metadata=ObjectMeta(name=f"m{number}", labels=labels)))

    def names(**selection: Any) -> list[str]:
        listed = client.list(ConfigMap, chunk_size=2, **selection)
        return [item.metadata.name for item in listed if item.metadata and item.metadata.name]

    assert names() == ["kube-root-ca.crt", *(f"m{number}" for number in range(7))]
    assert names(labels={"odd": operators.exists()}) == ["m1", "m3", "m5"]
    assert names(labels={"number": operators.in_(["1", "2"]), "odd": operators.not_exists()}) == ["m2"]
    assert names(labels={"number": operators.not_in(["1", "2", "3"]), "odd": "yes"}) == ["m5"]
    assert names(fields={"metadata.name": "m4"}) == ["m4"]


def test_a_watch_outlives_its_connections(client: Client) -> None:
    """Ended by the server each second, the watch goes on from where it was and misses nothing."""
    client.create(config_map("one"))
    listed = client.list(ConfigMap)
    known = [item.metadata.name for item in listed if item.metadata]
    watching = client.watch(
        ConfigMap, server_timeout=1, resource_version=listed.resourceVersion, on_error=on_error_retry
    )
    written = threading.Timer(1.5, lambda: client.create(config_map("two")))
    written.start()
    (kind, item), *_ = islice(watching, 1)
    written.join()
    assert item.metadata is not None
    assert (kind, item.metadata.name) == ("ADDED", "two")
    assert sorted(known) == ["kube-root-ca.crt", "one"]


def test_waiting_for_conditions(client: Client) -> None:
    """wait ends with the condition, with one that means failure, or with the object."""
    deployment = next(item for item in load_all_yaml(DEPLOYMENT) if isinstance(item, Deployment))
    client.create(deployment)
    checked = {"status": {"conditions": [{"type": "Checked", "status": "True", "message": "all is well"}]}}
    later = threading.Timer(0.3, lambda: client.patch(Deployment.Status, "web", checked))
    later.start()
    client.wait(Deployment, "web", for_conditions=["Checked"])
    later.join()
    with pytest.raises(ConditionError, match="all is well"):
        client.wait(Deployment, "web", for_conditions=["None"], raise_for_conditions=["Checked"])
    later = threading.Timer(0.3, lambda: client.delete(Deployment, "web"))
    later.start()
    with pytest.raises(ObjectDeleted):
        client.wait(Deployment, "web", for_conditions=["None"])
    later.join()


async def test_the_asynchronous_client(server: Server, namespace: str) -> None:
    """Many calls at once and a watch beside them, on one connection pool."""
    settings = KubeConfig.from_file(str(server.kubeconfig))
    client = AsyncClient(settings, namespace=namespace, trust_env=False)
    seen: set[str | None] = set()

    async def watch() -> None:
        async for _, item in client.watch(ConfigMap):
            assert item.metadata is not None
            seen.add(item.metadata.name)
            if len(seen) == 31:
                return

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        for number in range(30):
            tasks.create_task(client.create(config_map(f"m{number}")))
    assert {f"m{number}" for number in range(30)} < seen
    assert [pod async for pod in client.list(Pod)] == []
    await client.close()


def test_kinds_of_its_own(client: Client, namespace: str) -> None:
    """A definition's objects are applied, patched in their status, listed and deleted as any others."""
    group = f"{namespace}.example.com"
    open_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": open_object, "status": open_object}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    version["subresources"] = {"status": {}}
    names = {"kind": "Boat", "plural": "boats", "singular": "boat", "listKind": "BoatList"}
    spec = {"group": group, "names": names, "scope": "Cluster", "versions": [version]}
    definition = CustomResourceDefinition.from_dict({"metadata": {"name": f"boats.{group}"}, "spec": spec})
    client.apply(definition)
    client.wait(CustomResourceDefinition, f"boats.{group}", for_conditions=["Established"])
    boats = create_global_resource(group, "v1", "Boat", "boats")
    one = client.apply(boats(metadata=ObjectMeta(name="one"), spec={"sails": [{"area": 9}]}))
    assert one.spec == {"sails": [{"area": 9}]}
    client.patch(boats.Status, "one", {"status": {"afloat": True}}, patch_type=PatchType.MERGE)
    assert [boat.status for boat in client.list(boats)] == [{"afloat": True}]
    with pytest.raises(ApiError) as unsupported:
        client.patch(boats, "one", {"spec": {}}, patch_type=PatchType.STRATEGIC)
    assert unsupported.value.response.status_code == 415
    client.delete(CustomResourceDefinition, f"boats.{group}")
