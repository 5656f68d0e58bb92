"""kr8s, whose kinds come from discovery: objects like kubectl's nouns, waits, watches and tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import kr8s
import pytest
from kr8s.asyncio.objects import ConfigMap, CustomResourceDefinition, Deployment, Pod, Service, Table, new_class

from tests.integration.kubectl.lab import Server

pytestmark = pytest.mark.etcd
POD = {"containers": [{"name": "main", "image": "busybox"}]}


@pytest.fixture
async def api(server: Server, namespace: str) -> AsyncIterator[Any]:
    """A client whose calls go to the test's namespace."""
    found = await kr8s.asyncio.api(kubeconfig=str(server.kubeconfig), namespace=namespace)
    yield found
    await found._session.aclose()


async def made(api: Any, kind: Any, name: str, **content: Any) -> Any:
    """An object that has been created."""
    found = await kind({"metadata": {"name": name}, **content}, namespace=api.namespace, api=api)
    await found.create()
    return found


def deployment(replicas: int = 1) -> dict[str, Any]:
    """The spec of a Deployment."""
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": POD}
    return {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}


async def test_what_the_server_is(api: Any) -> None:
    """Version, user and kinds are told, in the form of before aggregated discovery."""
    assert (await api.version())["major"] == "1"
    assert await api.whoami() == "admin"
    resources = await api.async_api_resources_uncached()
    kinds = {each["kind"] for each in resources}
    assert {"Pod", "Deployment", "Lease", "HorizontalPodAutoscaler"} <= kinds
    assert all(each["verbs"] and each["singularName"] for each in resources if each["kind"] == "Pod")
    assert {"v1", "apps/v1"} <= {version async for version in api.api_versions()}
    assert await api.lookup_kind("deploy") == ("deployment.apps/v1", "deployments", True)


async def test_an_object_from_create_to_delete(api: Any) -> None:
    """Created, read, patched, labelled, annotated and deleted."""
    one = await made(api, ConfigMap, "one", data={"a": "1"})
    assert await one.exists()
    await one.patch({"data": {"b": "2"}})
    assert one.data == {"a": "1", "b": "2"}
    await one.patch([{"op": "remove", "path": "/data/a"}], type="json")
    await one.label({"team": "blue"})
    await one.annotate({"note": "x"})
    await one.remove_label("team")
    again = await ConfigMap.get("one", namespace=api.namespace, api=api)
    assert (dict(again.data), dict(again.labels), dict(again.annotations)) == ({"b": "2"}, {}, {"note": "x"})
    await one.delete()
    await one.wait("delete", timeout=10)
    with pytest.raises(kr8s.NotFoundError):
        await one.refresh()
    with pytest.raises(kr8s.ServerError) as refused:
        await made(api, Pod, "UPPER", spec=POD)
    assert refused.value.response is not None
    assert refused.value.response.status_code == 422


async def test_workloads(api: Any) -> None:
    """A Deployment is scaled, waited for, and found from its pods and by its Service."""
    web = await made(api, Deployment, "web", spec=deployment())
    await web.scale(2)
    assert web.replicas == 2
    names: set[str] = set()
    async with asyncio.timeout(10):
        async for _, pod in api.watch("pods", label_selector="app=web"):
            names.add(pod.name)
            if len(names) == 2:
                break
    pods = await web.pods()
    assert {pod.name for pod in pods} == names
    conditions = [{"type": name, "status": "True"} for name in ("Ready", "ContainersReady")]
    await pods[0].patch({"status": {"conditions": conditions}}, subresource="status")
    await pods[0].wait("condition=Ready", timeout=10)
    await pods[0].wait("jsonpath='{.metadata.labels.app}'=web", timeout=10)
    assert await pods[0].ready()
    service = await made(api, Service, "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
    assert service.spec.clusterIP.startswith("10.43.")
    child = await made(api, ConfigMap, "child")
    await web.adopt(child)
    await web.delete(propagation_policy="Foreground")
    await web.wait("delete", timeout=20)
    assert not await child.exists()


async def test_lists_of_any_kind(api: Any) -> None:
    """Kinds are asked for by any of their names; what there are many of comes page by page."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(120):
            tasks.create_task(made(api, ConfigMap, f"m{number}"))
    assert len([each async for each in api.get("cm")]) == 121
    assert [each.name async for each in api.get("configmaps", "m7", "m8")] == ["m7", "m8"]
    assert [each.name async for each in api.get("configmap", field_selector={"metadata.name": "m9"})] == ["m9"]
    accounts = [each.kind async for each in api.get("serviceaccounts", namespace=kr8s.ALL)]
    assert set(accounts) == {"ServiceAccount"}
    leases = new_class("Lease", "coordination.k8s.io/v1", asyncio=True, plural="leases")
    lease = await made(api, leases, "one", spec={"holderIdentity": "me"})
    assert lease.spec.holderIdentity == "me"


async def test_tables(api: Any) -> None:
    """A table of pods has the columns that kubectl prints."""
    await made(api, Pod, "one", spec=POD)
    tables = [each async for each in api.get("pods", as_object=Table)]
    assert [column.name for column in tables[0].column_definitions][:5] == [
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
    ]
    assert tables[0].rows[0].cells[:3] == ["one", "0/1", "Pending"]


async def test_a_watch(api: Any) -> None:
    """It begins with what is there and goes on with each change."""
    one = await made(api, ConfigMap, "one")
    seen: list[tuple[str, str]] = []

    async def watch() -> None:
        async for kind, item in api.watch("configmaps", field_selector="metadata.name!=kube-root-ca.crt"):
            seen.append((kind, item.name))
            if kind == "DELETED":
                return
            await (one.delete() if kind == "MODIFIED" else one.patch({"data": {"a": "1"}}))

    async with asyncio.timeout(10):
        await watch()
    assert seen == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]


async def test_kinds_of_its_own(api: Any) -> None:
    """A kind is found by discovery as soon as its definition is established, and gone with it."""
    group = f"{api.namespace}.example.com"
    names = {"kind": "Boat", "plural": "boats", "singular": "boat", "shortNames": ["bt"]}
    properties = {"spec": {"type": "object", "properties": {"length": {"type": "integer", "default": 7}}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    columns = [{"name": "Length", "type": "integer", "jsonPath": ".spec.length"}]
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "additionalPrinterColumns": columns}
    spec = {"group": group, "names": names, "scope": "Namespaced", "versions": [version]}
    definition = await CustomResourceDefinition({"metadata": {"name": f"boats.{group}"}, "spec": spec}, api=api)
    await definition.create()
    await definition.wait("condition=Established", timeout=10)
    boats = new_class("Boat", f"{group}/v1", asyncio=True, plural="boats")
    one = await made(api, boats, "one", spec={})
    assert one.spec.length == 7
    with pytest.raises(kr8s.ServerError, match=r"spec\.length"):
        await made(api, boats, "bad", spec={"length": "long"})
    assert [each.name async for each in api.get(f"bt.{group}")] == ["one"]
    tables = [each async for each in api.get(f"boats.{group}", as_object=Table)]
    assert [column.name for column in tables[0].column_definitions] == ["Name", "Length"]
    assert tables[0].rows[0].cells == ["one", 7]
    await definition.delete()
    await definition.wait("delete", timeout=10)
    with pytest.raises(kr8s.NotFoundError):
        await one.refresh()
