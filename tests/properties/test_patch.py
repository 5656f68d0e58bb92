"""Laws of the patch types, on documents of any shape."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.patch.json_patch import apply_json_patch
from controlplane.api.patch.merge_patch import apply_merge_patch
from controlplane.api.patch.strategic import apply_strategic_patch
from controlplane.api.schema import TypeSchema, root_schema

DEPLOYMENT = root_schema("io.k8s.api.apps.v1.Deployment")

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab~/", max_size=3)
keys = st.text("ab~/", min_size=1, max_size=2)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
)
documents = st.dictionaries(keys, values, max_size=4)
names = st.sampled_from(["a", "b", "c", "d"])
images = st.sampled_from(["x", "y"])


@st.composite
def deployments(draw: st.DrawFn) -> dict[str, Any]:
    """Deployments with containers, labels and finalizers; any part may be missing."""
    containers = [{"name": name, "image": draw(images)} for name in draw(st.lists(names, unique=True, max_size=4))]
    metadata: dict[str, Any] = {"labels": draw(st.dictionaries(names, images, max_size=3))}
    if draw(st.booleans()):
        metadata["finalizers"] = draw(st.lists(names, unique=True, min_size=1, max_size=3))
    return {"metadata": metadata, "spec": {"template": {"spec": {"containers": containers}}}}


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(child) for key, child in value.items() if child is not None}
    return value


@given(documents, documents)
def test_merge_patch_is_idempotent(document: Any, patch: Any) -> None:
    """Applying a merge patch twice is applying it once."""
    once = apply_merge_patch(document, patch)
    assert apply_merge_patch(once, patch) == once


@given(documents, documents)
def test_a_merge_patch_can_lead_anywhere(source: Any, target: Any) -> None:
    """Nulls for what the target lacks, and the target's own values, make the target."""
    target = without_nulls(target)
    patch = {key: None for key in source if key not in target} | _replacing(source, target)
    assert apply_merge_patch(source, patch) == target


def _replacing(source: Any, target: Any) -> Any:
    patch = {}
    for key, value in target.items():
        before = source.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            patch[key] = {old: None for old in before if old not in value} | _replacing(before, value)
        else:
            patch[key] = value
    return patch


@given(documents, documents)
def test_patches_leave_their_arguments_alone(document: Any, patch: Any) -> None:
    """None of the patch types edits the document or the patch, nor does editing the result."""
    before = copy.deepcopy((document, patch))
    apply_merge_patch(document, patch)
    apply_json_patch(document, [{"op": "add", "path": "/a", "value": patch}, {"op": "add", "path": "/a/b", "value": 1}])
    assert (document, patch) == before


@given(documents, keys, values)
def test_add_then_remove_is_nothing(document: Any, key: str, value: Any) -> None:
    """A key that was not there is gone again."""
    document.pop(key, None)
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    operations = [{"op": "add", "path": pointer, "value": value}, {"op": "remove", "path": pointer}]
    assert apply_json_patch(document, operations) == document


@given(st.lists(scalars, min_size=1, max_size=5), st.data())
def test_moving_there_and_back_is_nothing(items: list[Any], data: st.DataObject) -> None:
    """An item moved to another index and back leaves the array as it was."""
    source = data.draw(st.integers(0, len(items) - 1))
    target = data.draw(st.integers(0, len(items) - 1))
    there = {"op": "move", "from": f"/a/{source}", "path": f"/a/{target}"}
    back = {"op": "move", "from": f"/a/{target}", "path": f"/a/{source}"}
    assert apply_json_patch({"a": items}, [there, back]) == {"a": items}


@given(deployments(), deployments())
def test_strategic_merge_is_idempotent(document: Any, patch: Any) -> None:
    """Applying a strategic merge patch twice is applying it once."""
    once = apply_strategic_patch(document, patch, DEPLOYMENT)
    assert apply_strategic_patch(once, patch, DEPLOYMENT) == once


@given(deployments(), deployments())
def test_strategic_merge_holds_the_patch_and_keeps_the_rest(document: Any, patch: Any) -> None:
    """Every item of the patch is in the result as it says; what it does not name is as before; no name is twice."""
    result = _containers(apply_strategic_patch(document, patch, DEPLOYMENT))
    assert len(result) == len(set(result))
    assert result == _containers(document) | _containers(patch)


def _containers(deployment: Any) -> dict[str, str]:
    items = deployment["spec"]["template"]["spec"]["containers"]
    assert len({item["name"] for item in items}) == len(items)
    return {item["name"]: item["image"] for item in items}


@given(deployments(), st.lists(names, unique=True, max_size=4))
def test_an_order_only_sorts(document: Any, order: list[str]) -> None:
    """$setElementOrder changes no item, sorts those that it lists and keeps the others among themselves."""
    directive = {"$setElementOrder/containers": [{"name": name} for name in order]}
    patch = {"spec": {"template": {"spec": directive}}}
    before = list(_containers(document))
    result = apply_strategic_patch(document, patch, DEPLOYMENT)
    assert _containers(result) == _containers(document)
    after = list(_containers(result))
    assert [name for name in after if name in order] == [name for name in order if name in before]
    assert [name for name in after if name not in order] == [name for name in before if name not in order]


def _difference(source: dict[str, Any], target: dict[str, Any], schema: TypeSchema) -> dict[str, Any]:
    """The patch that leads from one object to another, as kubectl computes it."""
    patch: dict[str, Any] = {name: None for name in source if name not in target}
    for name, value in target.items():
        before, inner = source.get(name), schema.field(name)
        if value == before:
            continue
        if isinstance(value, dict) and isinstance(before, dict):
            patch[name] = _difference(before, value, inner)
        elif isinstance(value, list) and isinstance(before, list) and "merge" in inner.patch_strategies:
            patch |= _list_difference(name, before, value, inner)
        else:
            patch[name] = value
    return patch


def _list_difference(name: str, source: list[Any], target: list[Any], schema: TypeSchema) -> dict[str, Any]:
    key = schema.merge_key
    if not key:
        gone = [item for item in source if item not in target]
        added = [item for item in target if item not in source]
        patch = {f"$setElementOrder/{name}": target}
        return patch | ({name: added} if added else {}) | ({f"$deleteFromPrimitiveList/{name}": gone} if gone else {})
    before = {item[key]: item for item in source}
    kept = {item[key] for item in target}
    changed: list[Any] = []
    for item in target:
        if item[key] not in before:
            changed.append(item)
        elif item != before[item[key]]:
            changed.append(_difference(before[item[key]], item, schema.element) | {key: item[key]})
    changed += [{"$patch": "delete", key: each} for each in before if each not in kept]
    order = {f"$setElementOrder/{name}": [{key: item[key]} for item in target]}
    return order | ({name: changed} if changed else {})


@given(deployments(), deployments())
def test_a_difference_leads_to_its_target(source: Any, target: Any) -> None:
    """The patch that kubectl computes between two objects makes the one of the other, order of lists included."""
    assert apply_strategic_patch(source, _difference(source, target, DEPLOYMENT), DEPLOYMENT) == target


@given(deployments(), deployments(), deployments())
def test_a_difference_leaves_what_others_added(source: Any, target: Any, extra: Any) -> None:
    """Containers that somebody else added meanwhile are still there, and the patch's own are as it says."""
    others = {f"other-{item['name']}": item for item in extra["spec"]["template"]["spec"]["containers"]}
    live = copy.deepcopy(source)
    containers = live["spec"]["template"]["spec"]["containers"]
    containers += [item | {"name": name} for name, item in others.items()]
    result = _containers(apply_strategic_patch(live, _difference(source, target, DEPLOYMENT), DEPLOYMENT))
    assert result == _containers(target) | {name: item["image"] for name, item in others.items()}
