"""Who owns what of a custom object that is written through several of its versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flotilla.api.objects import KubeObject

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_APPLY = "application/apply-patch+yaml"


async def _serve_two(widgets: Any) -> None:
    """Serve widgets in a second version, in which their ports are one value rather than a list of parts."""
    crd = (await widgets.get(f"{_DEFINITIONS}/widgets.example.com")).body
    second = json.loads(json.dumps(crd["spec"]["versions"][0])) | {"name": "v2beta1", "storage": False}
    ports = second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["ports"]
    for name in ("x-kubernetes-list-type", "x-kubernetes-list-map-keys"):
        ports.pop(name)
    crd["spec"]["versions"].append(second)
    assert (await widgets.ask("PUT", f"{_DEFINITIONS}/widgets.example.com", crd)).status == 200


async def _redefine(widgets: Any, change: Callable[[list[KubeObject]], object]) -> None:
    crd = (await widgets.get(f"{_DEFINITIONS}/widgets.example.com")).body
    change(crd["spec"]["versions"])
    reply = await widgets.ask("PUT", f"{_DEFINITIONS}/widgets.example.com", crd)
    assert reply.status == 200, reply.body


async def _apply(widgets: Any, manager: str, version: str, spec: KubeObject, query: str = "") -> Any:
    body = {"apiVersion": f"example.com/{version}", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}
    path = f"/apis/example.com/{version}/namespaces/default/widgets/w?fieldManager={manager}{query}"
    return await widgets.ask("PATCH", path, body, content_type=_APPLY)


def _owners(obj: KubeObject) -> dict[str, tuple[str, KubeObject]]:
    entries = obj["metadata"]["managedFields"]
    return {entry["manager"]: (entry["apiVersion"], entry["fieldsV1"]["f:spec"]) for entry in entries}


async def test_ownership_crosses_versions(widgets: Any) -> None:
    """A list of parts in one version is one value in the other: who changes a part changes that value."""
    await _serve_two(widgets)
    a, b = {"name": "a", "port": 1}, {"name": "b", "port": 2}
    assert (await _apply(widgets, "ann", "v2beta1", {"size": 3, "ports": [a]})).status == 201
    assert (await _apply(widgets, "bob", "v1", {"size": 3})).status == 200
    reply = await _apply(widgets, "bob", "v1", {"size": 3, "ports": [b]})
    assert (reply.status, [cause["field"] for cause in reply.body["details"]["causes"]]) == (409, [".spec.ports"])
    assert (await _apply(widgets, "bob", "v1", {"size": 3, "ports": [b]}, "&force=true")).status == 200
    reply = await _apply(widgets, "cat", "v1", {"size": 4})
    assert len(reply.body["details"]["causes"]) == 2
    live = (await widgets.get("/apis/example.com/v1/namespaces/default/widgets/w")).body
    assert live["spec"]["ports"] == [a, b]
    element: KubeObject = {".": {}, "f:name": {}, "f:port": {}}
    assert _owners(live) == {
        "ann": ("example.com/v2beta1", {"f:size": {}}),
        "bob": ("example.com/v1", {"f:size": {}, "f:ports": {'k:{"name":"b"}': element}}),
    }
    reply = await _apply(widgets, "bob", "v2beta1", {"size": 3})
    assert "ports" not in reply.body["spec"], "nobody has set anything of it any more"
    assert _owners(reply.body)["bob"] == ("example.com/v2beta1", {"f:size": {}})


async def test_versions_that_are_not_served_any_more_keep_their_owners(widgets: Any) -> None:
    """Who applied through a version that is on its way out gives up, in the next one, what it no longer sets."""
    await _serve_two(widgets)
    assert (await _apply(widgets, "ann", "v2beta1", {"size": 3, "color": "blue"})).status == 201
    await _redefine(widgets, lambda versions: versions[1].update(served=False))
    path = "/apis/example.com/v1/namespaces/default/widgets/w"
    assert (await widgets.get(path.replace("/v1/", "/v2beta1/"))).status == 404
    assert (await _apply(widgets, "bob", "v1", {"size": 3, "ports": [{"name": "a"}]})).status == 200
    assert _owners((await widgets.get(path)).body)["ann"][1] == {"f:size": {}, "f:color": {}}
    reply = await _apply(widgets, "ann", "v1", {"size": 3})
    assert reply.body["spec"]["color"] == "red", "the default takes the place of what was given up"


async def test_ownership_follows_a_schema_that_changes(widgets: Any) -> None:
    """A list of parts that becomes one value is owned whole by who owned a part, and by its parts when it is undone."""
    a, b = {"name": "a", "port": 1}, {"name": "b", "port": 2}
    assert (await _apply(widgets, "ann", "v1", {"size": 3, "ports": [a, b]})).status == 201
    ports = {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}

    def spec_of(version: KubeObject) -> KubeObject:
        found: KubeObject = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        return found

    await _redefine(widgets, lambda versions: spec_of(versions[0]).update(ports=ports))
    reply = await _apply(widgets, "bob", "v1", {"size": 3})
    assert _owners(reply.body)["ann"][1] == {"f:size": {}, "f:ports": {}}
    keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    items = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    await _redefine(widgets, lambda versions: spec_of(versions[0]).update(ports=ports | keys | {"items": items}))
    reply = await _apply(widgets, "bob", "v1", {"size": 3, "ports": [{"name": "c"}]})
    assert [port["name"] for port in reply.body["spec"]["ports"]] == ["a", "b", "c"]
    assert set(_owners(reply.body)["ann"][1]["f:ports"]) == {".", 'k:{"name":"a"}', 'k:{"name":"b"}'}
