"""Custom resources over HTTP: from the definition to each verb on its objects."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from flotilla.api.conditions import is_true
from flotilla.api.objects import KubeObject
from flotilla.api.resources import CUSTOM_RESOURCE_DEFINITIONS

_TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


def _widget(name: str = "w", **spec: Any) -> KubeObject:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 3} | spec}


async def test_an_object_is_pruned_completed_and_numbered(widgets: Any) -> None:
    """What is stored must be what the schema knows, with its defaults; the client hears what was dropped."""
    created = await widgets.post(_WIDGETS, _widget(bogus=1, raw={"any": [None]}) | {"status": {"phase": "x"}})
    assert created.status == 201
    assert created.body["spec"] == {"size": 3, "least": 0, "color": "red", "raw": {"any": [None]}}
    assert "status" not in created.body
    assert created.body["metadata"]["generation"] == 1
    assert created.headers["Warning"] == '299 - "unknown field \\"spec.bogus\\""'
    strict = await widgets.post(f"{_WIDGETS}?fieldValidation=Strict", _widget("s", bogus=1))
    assert (strict.status, strict.message.partition("strict ")[2]) == (
        400,
        'decoding error: unknown field "spec.bogus"',
    )
    ignored = await widgets.post(f"{_WIDGETS}?fieldValidation=Ignore", _widget("i", bogus=1))
    assert (ignored.status, ignored.headers.get("Warning")) == (201, None)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"size": 30}, "spec.size: Invalid value: 30: spec.size in body should be less than or equal to 10"),
        ({"size": 1, "least": 2}, 'spec: Invalid value: "object": size must not be below least'),
        ({"ports": [{"name": "a"}, {"name": "a"}]}, 'spec.ports[1]: Duplicate value: {"name":"a"}'),
    ],
)
async def test_invalid_objects_are_refused(widgets: Any, spec: KubeObject, message: str) -> None:
    """A fault must reach the client as a Status with the cause."""
    refused = await widgets.post(_WIDGETS, _widget(**spec))
    assert (refused.status, refused.message) == (422, f'Widget.example.com "w" is invalid: {message}')
    assert refused.body["details"]["causes"][0]["field"] == message.partition(":")[0]


async def test_wrong_metadata_is_refused(widgets: Any) -> None:
    """Labels that are none must be refused as for every kind."""
    wrong = _widget() | {"metadata": {"name": "w", "labels": {"a": 1}, "odd": 1}}
    assert (await widgets.post(_WIDGETS, wrong)).status == 400
    odd = await widgets.post(_WIDGETS, _widget() | {"metadata": {"name": "w", "odd": 1}})
    assert odd.headers["Warning"] == '299 - "unknown field \\"metadata.odd\\""'


async def test_tables_discovery_and_openapi_know_the_kind(widgets: Any) -> None:
    """As soon as a kind is established, every document must show it."""
    await widgets.post(_WIDGETS, _widget())
    table = (await widgets.get(_WIDGETS, headers=_TABLE)).body
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size", "Color", "Age"]
    assert table["rows"][0]["cells"][:3] == ["w", 3, "red"]
    resources = (await widgets.get("/apis/example.com/v1")).body["resources"]
    assert [resource["name"] for resource in resources] == ["widgets", "widgets/status", "widgets/scale"]
    assert (resources[0]["shortNames"], resources[0]["categories"]) == (["wd"], ["all"])
    assert "example.com" in [group["name"] for group in (await widgets.get("/apis")).body["groups"]]
    aggregated = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
    items = (await widgets.get("/apis", headers=aggregated)).body["items"]
    assert "example.com" in [item["metadata"]["name"] for item in items]
    document = (await widgets.get("/openapi/v3/apis/example.com/v1")).body
    schema = document["components"]["schemas"]["com.example.v1.Widget"]
    assert schema["properties"]["spec"]["properties"]["size"]["maximum"] == 10
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "example.com", "version": "v1", "kind": "Widget"}]
    item = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]
    assert "application/strategic-merge-patch+json" not in item["patch"]["requestBody"]["content"]
    assert "com.example.v1.Widget" in (await widgets.get("/openapi/v2")).body["definitions"]


async def test_documents_follow_the_definition(widgets: Any) -> None:
    """OpenAPI must change with the schema, and its hash with it."""
    path = "/openapi/v3/apis/example.com/v1"
    before = (await widgets.get("/openapi/v3")).body["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    patch = [{"op": "add", "path": f"{_SCHEMA_POINTER}/properties/extra", "value": {"type": "string"}}]
    name = f"{_DEFINITIONS}/widgets.example.com"
    assert (await widgets.ask("PATCH", name, patch, content_type="application/json-patch+json")).status == 200
    after = (await widgets.get("/openapi/v3")).body["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    assert before != after
    schema = (await widgets.get(path)).body["components"]["schemas"]["com.example.v1.Widget"]
    assert "extra" in schema["properties"]["spec"]["properties"]
    assert (await widgets.post(_WIDGETS, _widget(extra="x"))).body["spec"]["extra"] == "x"


_SCHEMA_POINTER = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"


async def test_updates_raise_the_generation_of_the_spec_alone(widgets: Any) -> None:
    """A status is written through its subresource only, and neither it nor metadata count as a generation."""
    await widgets.post(_WIDGETS, _widget())
    item = f"{_WIDGETS}/w"
    status = await widgets.ask("PATCH", f"{item}/status", {"status": {"phase": "Up"}}, content_type=_MERGE)
    assert (status.status, status.body["status"], status.body["metadata"]["generation"]) == (200, {"phase": "Up"}, 1)
    labelled = await widgets.ask("PATCH", item, {"metadata": {"labels": {"a": "b"}}}, content_type=_MERGE)
    assert labelled.body["metadata"]["generation"] == 1
    both = await widgets.ask("PATCH", item, {"spec": {"size": 4}, "status": {"phase": "Down"}}, content_type=_MERGE)
    assert (both.body["metadata"]["generation"], both.body["status"]) == (2, {"phase": "Up"})
    wrong = await widgets.ask("PATCH", f"{item}/status", {"status": {"size": "x"}}, content_type=_MERGE)
    assert wrong.status == 422
    replaced = await widgets.ask("PUT", item, both.body | {"spec": {"size": 5}})
    assert (replaced.status, replaced.body["spec"]["color"]) == (200, "red")


async def test_transition_rules_guard_updates(widgets: Any) -> None:
    """A field whose rule compares it with its old value must be immutable."""
    await widgets.post(_WIDGETS, _widget(fixed="x"))
    refused = await widgets.ask("PATCH", f"{_WIDGETS}/w", {"spec": {"fixed": "y"}}, content_type=_MERGE)
    assert (refused.status, refused.body["details"]["causes"][0]["message"]) == (
        422,
        'Invalid value: "string": fixed is immutable',
    )


async def test_strategic_merge_is_refused(widgets: Any) -> None:
    """A kind without strategy of its own lists must refuse that patch with the types that it takes."""
    await widgets.post(_WIDGETS, _widget())
    media_type = "application/strategic-merge-patch+json"
    refused = await widgets.ask("PATCH", f"{_WIDGETS}/w", {"spec": {"size": 4}}, content_type=media_type)
    assert refused.status == 415
    assert media_type not in refused.message


async def test_apply_merges_lists_by_their_keys(widgets: Any) -> None:
    """Two managers must be able to own items of one list, and conflicts must name the item."""
    item = f"{_WIDGETS}/w"
    for manager, port in (("a", 1), ("b", 2)):
        config = _widget() | {"spec": {"size": 3, "ports": [{"name": manager, "port": port}]}}
        applied = await widgets.ask("PATCH", f"{item}?fieldManager={manager}", config, content_type=_APPLY)
        assert applied.status in (200, 201), applied.body
    assert [port["name"] for port in applied.body["spec"]["ports"]] == ["a", "b"]
    config = _widget() | {"spec": {"size": 3, "ports": [{"name": "a", "port": 9}]}}
    conflict = await widgets.ask("PATCH", f"{item}?fieldManager=b", config, content_type=_APPLY)
    assert conflict.status == 409
    assert conflict.body["details"]["causes"][0]["field"] == '.spec.ports[name="a"].port'
    without = await widgets.ask("PATCH", f"{item}?fieldManager=a", _widget(), content_type=_APPLY)
    assert [port["name"] for port in without.body["spec"]["ports"]] == ["b"]


async def test_free_form_fields_are_merged_by_their_own_form(widgets: Any) -> None:
    """What the schema keeps without knowing it must be owned field by field."""
    item = f"{_WIDGETS}/w"
    for manager in ("a", "b"):
        config = _widget() | {"spec": {"size": 3, "raw": {manager: {"list": [1, 2]}}}}
        applied = await widgets.ask("PATCH", f"{item}?fieldManager={manager}", config, content_type=_APPLY)
    assert applied.body["spec"]["raw"] == {"a": {"list": [1, 2]}, "b": {"list": [1, 2]}}
    gone = await widgets.ask("PATCH", f"{item}?fieldManager=a", _widget(), content_type=_APPLY)
    assert gone.body["spec"]["raw"] == {"b": {"list": [1, 2]}}


async def test_scale_follows_the_paths_of_the_definition(widgets: Any) -> None:
    """The scale subresource must read and write where the definition says."""
    await widgets.post(_WIDGETS, _widget())
    status = {"status": {"size": 2, "selector": "app=w"}}
    await widgets.ask("PATCH", f"{_WIDGETS}/w/status", status, content_type=_MERGE)
    scale = (await widgets.get(f"{_WIDGETS}/w/scale")).body
    assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 2, "selector": "app=w"})
    written = await widgets.ask("PUT", f"{_WIDGETS}/w/scale", scale | {"spec": {"replicas": 5}})
    assert (written.status, written.body["spec"]) == (200, {"replicas": 5})
    stored = (await widgets.get(f"{_WIDGETS}/w")).body
    assert (stored["spec"]["size"], stored["metadata"]["generation"]) == (5, 2)
    refused = await widgets.ask(
        "PUT", f"{_WIDGETS}/w/scale", scale | {"metadata": {"name": "w"}, "spec": {"replicas": 50}}
    )
    assert refused.status == 422


async def test_selectable_fields_select(widgets: Any) -> None:
    """A field that the definition names must be usable in a field selector, and no other."""
    await widgets.post(_WIDGETS, _widget("r"))
    await widgets.post(_WIDGETS, _widget("b", color="blue"))
    found = (await widgets.get(f"{_WIDGETS}?fieldSelector=spec.color%3Dblue")).body["items"]
    assert [item["metadata"]["name"] for item in found] == ["b"]
    assert (await widgets.get(f"{_WIDGETS}?fieldSelector=spec.size%3D3")).status == 400


async def test_a_watch_ends_when_the_kind_changes(widgets: Any) -> None:
    """A watcher must get the kind's events, and start anew, from where it is, once the kind is defined anew."""
    url = f"{widgets.url}{_WIDGETS}?watch=1"
    async with asyncio.timeout(10), widgets.session.get(url, timeout=aiohttp.ClientTimeout(10)) as response:
        created = await widgets.post(_WIDGETS, _widget())
        event = json.loads(await response.content.readline())
        assert (event["type"], event["object"]) == ("ADDED", created.body)
        patch = {"spec": {"names": {"plural": "widgets", "kind": "Widget", "categories": ["none"]}}}
        await widgets.ask("PATCH", f"{_DEFINITIONS}/widgets.example.com", patch, content_type=_MERGE)
        assert await response.content.read() == b""


async def test_deleting_the_definition_deletes_the_objects(widgets: Any) -> None:
    """A definition must stay until its objects are gone, then its paths must be gone too."""
    await widgets.post(_WIDGETS, _widget())
    held = _widget("held") | {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await widgets.post(_WIDGETS, held)
    name = f"{_DEFINITIONS}/widgets.example.com"
    deleting = await widgets.ask("DELETE", name)
    assert deleting.body["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert is_true(deleting.body, "Terminating")
    await _until_gone(widgets, f"{_WIDGETS}/w")
    assert (await widgets.post(_WIDGETS, _widget("late"))).status == 405
    late = await widgets.ask("PATCH", f"{_WIDGETS}/late?fieldManager=m", _widget("late"), content_type=_APPLY)
    assert late.status == 405
    assert (await widgets.get(f"{_WIDGETS}/held")).status == 200
    await widgets.ask("PATCH", f"{_WIDGETS}/held", {"metadata": {"finalizers": None}}, content_type=_MERGE)
    await _until_gone(widgets, name)
    assert (await widgets.get(_WIDGETS)).status == 404
    assert "example.com" not in [group["name"] for group in (await widgets.get("/apis")).body["groups"]]


async def _until_gone(api: Any, path: str) -> None:
    async with asyncio.timeout(10):
        subscription = api.cache.subscribe(api.cache.registry.stored(), later_kinds=True)
        try:
            while (await api.get(path)).status != 404:
                await subscription.batch()
        finally:
            subscription.close()


async def test_names_are_given_once(widgets: Any) -> None:
    """A definition that wants a taken name must wait, say so, and get it when it is free."""
    other = (await widgets.get(f"{_DEFINITIONS}/widgets.example.com")).body
    names = {"plural": "gadgets", "kind": "Gadget", "shortNames": ["wd"]}
    gadgets = {
        "apiVersion": other["apiVersion"],
        "kind": other["kind"],
        "metadata": {"name": "gadgets.example.com"},
        "spec": other["spec"] | {"names": names},
    }
    assert (await widgets.post(_DEFINITIONS, gadgets)).status == 201
    waiting = await _until_status(widgets, "NamesAccepted", "False")
    conditions = {condition["type"]: condition for condition in waiting["status"]["conditions"]}
    assert conditions["NamesAccepted"]["reason"] == "ShortNamesConflict"
    assert conditions["NamesAccepted"]["message"] == '"wd" is already in use'
    assert (conditions["Established"]["status"], conditions["Established"]["reason"]) == ("False", "NotAccepted")
    assert (await widgets.get("/apis/example.com/v1/gadgets")).status == 404
    patch = {"spec": {"names": {"shortNames": None}}}
    await widgets.ask("PATCH", f"{_DEFINITIONS}/widgets.example.com", patch, content_type=_MERGE)
    await _until_status(widgets, "Established", "True")
    assert (await widgets.get("/apis/example.com/v1/gadgets")).status == 200


async def _until_status(api: Any, condition: str, status: str) -> KubeObject:
    """The definition of gadgets once its condition has that status."""
    async with asyncio.timeout(10):
        subscription = api.cache.subscribe([CUSTOM_RESOURCE_DEFINITIONS])
        try:
            while True:
                entry = api.cache.get(CUSTOM_RESOURCE_DEFINITIONS, "", "gadgets.example.com")
                found = {each["type"]: each["status"] for each in (entry.obj["status"].get("conditions") or ())}
                if found.get(condition) == status:
                    crd: KubeObject = entry.copy()
                    return crd
                await subscription.batch()
        finally:
            subscription.close()


async def test_versions_are_views_of_one_object(widgets: Any) -> None:
    """Every served version must show each object in its own name, by its own columns; managers keep theirs."""
    crd = (await widgets.get(f"{_DEFINITIONS}/widgets.example.com")).body
    second = crd["spec"]["versions"][0] | {
        "name": "v2beta1",
        "storage": False,
        "deprecated": True,
        "additionalPrinterColumns": [],
    }
    crd["spec"]["versions"].append(second)
    assert (await widgets.ask("PUT", f"{_DEFINITIONS}/widgets.example.com", crd)).status == 200
    beta = _WIDGETS.replace("v1", "v2beta1", 1)
    created = await widgets.post(beta, _widget() | {"apiVersion": "example.com/v2beta1"})
    assert (created.status, created.body["apiVersion"]) == (201, "example.com/v2beta1")
    assert created.headers["Warning"] == '299 - "example.com/v2beta1 Widget is deprecated"'
    stable = await widgets.get(f"{_WIDGETS}/w")
    assert stable.body | {"apiVersion": ""} == created.body | {"apiVersion": ""}
    assert stable.body["metadata"]["managedFields"][0]["apiVersion"] == "example.com/v2beta1"
    listed = await widgets.get(beta)
    assert listed.body["apiVersion"] == listed.body["items"][0]["apiVersion"] == "example.com/v2beta1"
    table = (await widgets.get(beta, headers=_TABLE)).body
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Age"]
    group = (await widgets.get("/apis/example.com")).body
    assert [version["version"] for version in group["versions"]] == ["v1", "v2beta1"]
    assert (await widgets.ask("DELETE", f"{beta}/w")).status == 200
    assert (await widgets.get(f"{_WIDGETS}/w")).status == 404


async def test_a_new_storage_version_shows_old_objects(widgets: Any) -> None:
    """Objects stored in one version must be there, with the new version's defaults, after another is stored."""
    await widgets.post(_WIDGETS, _widget())
    crd = (await widgets.get(f"{_DEFINITIONS}/widgets.example.com")).body
    first = crd["spec"]["versions"][0]
    second = json.loads(json.dumps(first)) | {"name": "v2"}
    properties = second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["weight"] = {"type": "integer", "default": 7}
    first["storage"] = first["served"] = False
    crd["spec"]["versions"].append(second)
    changed = await widgets.ask("PUT", f"{_DEFINITIONS}/widgets.example.com", crd)
    assert changed.body["status"]["storedVersions"] == ["v1", "v2"]
    assert (await widgets.get(_WIDGETS)).status == 404
    async with asyncio.timeout(10):
        while (await widgets.get(f"{_WIDGETS.replace('v1', 'v2', 1)}/w")).body["spec"].get("weight") != 7:
            continue
    dropped = changed.body
    dropped["spec"]["versions"] = [second]
    refused = await widgets.ask("PUT", f"{_DEFINITIONS}/widgets.example.com", dropped)
    assert (refused.status, refused.body["details"]["causes"][0]["field"]) == (422, "status.storedVersions[0]")


async def test_cluster_scoped_kinds(kinds: Any) -> None:
    """A kind may belong to the cluster, and none of its paths to a namespace then."""
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [version],
        },
    }
    assert (await kinds.post(_DEFINITIONS, crd)).status == 201
    await _until_status(kinds, "Established", "True")
    gadget = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "x": 1}
    created = await kinds.post("/apis/example.com/v1/gadgets", gadget)
    assert (created.status, "x" in created.body) == (201, False)
    assert (await kinds.get("/apis/example.com/v1/namespaces/default/gadgets")).status == 404


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"type": "array", "items": {"type": 5}}, "items.type"),
        ({"type": "array", "items": "x"}, "items"),
        ({"type": "object", "additionalProperties": {"properties": "x"}}, "additionalProperties.properties"),
        ({"type": "object", "additionalProperties": 1}, "additionalProperties"),
        ({"type": "object", "required": "x"}, "required"),
        ({"type": "object", "not": []}, "not"),
    ],
)
async def test_malformed_schemas_are_refused(kinds: Any, schema: KubeObject, field: str) -> None:
    """A schema of the wrong form must be refused when it is read, wherever it is nested."""
    version = {"name": "v1", "served": True, "storage": True}
    root = {"type": "object", "properties": {"a": schema}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [version | {"schema": {"openAPIV3Schema": root}}],
        },
    }
    refused = await kinds.post(_DEFINITIONS, crd)
    assert refused.status == 400
    assert f"spec.versions[0].schema.openAPIV3Schema.properties[a].{field}: " in refused.message


async def test_the_newest_stable_version_is_preferred(widgets: Any) -> None:
    """Versions of a group must be listed by their names, whichever definition came first."""
    crd = (await widgets.get(f"{_DEFINITIONS}/widgets.example.com")).body
    (version,) = crd["spec"]["versions"]
    gadgets = crd | {
        "metadata": {"name": "gadgets.example.com"},
        "spec": crd["spec"]
        | {
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [version | {"name": "v1alpha1", "storage": False}, version | {"name": "v2"}],
        },
    }
    gadgets.pop("status")
    assert (await widgets.post(_DEFINITIONS, gadgets)).status == 201
    await _until_status(widgets, "Established", "True")
    group = (await widgets.get("/apis/example.com")).body
    assert [each["version"] for each in group["versions"]] == ["v2", "v1", "v1alpha1"]
    assert group["preferredVersion"]["version"] == "v2"
