"""The patch types on single documents."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.api.patch.json_patch import MAXIMUM_OPERATIONS, apply_json_patch
from controlplane.api.patch.merge_patch import apply_merge_patch
from controlplane.api.patch.strategic import apply_strategic_patch
from controlplane.api.schema import root_schema
from flotilla.api.errors import ApiError

DEPLOYMENT = root_schema("io.k8s.api.apps.v1.Deployment")
POD = root_schema("io.k8s.api.core.v1.Pod")


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": {"b": 1}}, [{"op": "remove", "path": "/a/b"}], {"a": {}}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 1}}], {"b": 1}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": {}}, [{"op": "test", "path": "/a/b", "value": None}], {"a": {}}),
        ({"a/b": {"c~d": 1}}, [{"op": "replace", "path": "/a~1b/c~0d", "value": 2}], {"a/b": {"c~d": 2}}),
    ],
)
def test_json_patch(document: Any, operations: Any, expected: Any) -> None:
    """Each operation of RFC 6902, pointers with escapes, arrays by index and end."""
    assert apply_json_patch(document, operations) == expected


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ([{"op": "remove", "path": "/missing"}], 422),
        ([{"op": "replace", "path": "/missing", "value": 1}], 422),
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "test", "path": "/flag", "value": 1}], 422),
        ([{"op": "add", "path": "/list/9", "value": 1}], 422),
        ([{"op": "add", "path": "/list/01", "value": 1}], 422),
        ([{"op": "add", "path": "/a/b", "value": 1}], 422),
        ([{"op": "add", "path": "a", "value": 1}], 422),
        ([{"op": "move", "from": "/child", "path": "/child/in"}], 422),
        ([{"op": "add", "path": "/a"}], 400),
        ([{"op": "copy", "path": "/a"}], 400),
        ([{"op": "foo", "path": "/a"}], 400),
        ([{"op": "add"}], 400),
        ({"op": "add"}, 400),
        ([1], 400),
        ([{"op": "test", "path": "/a", "value": 1}] * (MAXIMUM_OPERATIONS + 1), 413),
    ],
)
def test_json_patches_that_do_not_apply(operations: Any, code: int) -> None:
    """A malformed patch is 400, one that the document does not allow 422, too many operations 413."""
    document = {"a": 1, "flag": True, "list": [1], "child": {}}
    with pytest.raises(ApiError) as caught:
        apply_json_patch(document, operations)
    assert caught.value.code == code
    assert document == {"a": 1, "flag": True, "list": [1], "child": {}}


def test_a_json_patch_can_not_blow_up_a_document() -> None:
    """Copies that double the document again and again are stopped by size."""
    operations = [{"op": "copy", "from": "/a", "path": f"/a/{number}"} for number in range(30)]
    with pytest.raises(ApiError) as caught:
        apply_json_patch({"a": {"x": "y" * 100}}, operations)
    assert caught.value.code == 413


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ],
)
def test_merge_patch(document: Any, patch: Any, expected: Any) -> None:
    """The examples of RFC 7386, appendix A."""
    assert apply_merge_patch(document, patch) == expected


def template(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers)}}}}


def containers_of(deployment: dict[str, Any]) -> Any:
    return deployment["spec"]["template"]["spec"]["containers"]


def test_items_are_paired_by_the_merge_key() -> None:
    """A container named in the patch is merged, another one added, the rest stays."""
    document = template({"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"})
    patch = template({"name": "a", "image": "2"}, {"name": "c", "image": "1"})
    assert containers_of(apply_strategic_patch(document, patch, DEPLOYMENT)) == [
        {"name": "a", "image": "2", "args": ["x"]},
        {"name": "c", "image": "1"},
        {"name": "b", "image": "1"},
    ]


def test_an_item_is_deleted_by_directive() -> None:
    """$patch: delete takes the item with that key away."""
    document = template({"name": "a"}, {"name": "b"})
    patch = template({"name": "a", "$patch": "delete"}, {"name": "missing", "$patch": "delete"})
    assert containers_of(apply_strategic_patch(document, patch, DEPLOYMENT)) == [{"name": "b"}]


def test_a_list_is_replaced_by_directive() -> None:
    """$patch: replace among the items keeps only those of the patch."""
    document = template({"name": "a"}, {"name": "b"})
    patch = template({"name": "c"}, {"$patch": "replace"})
    assert containers_of(apply_strategic_patch(document, patch, DEPLOYMENT)) == [{"name": "c"}]


def test_an_object_is_replaced_or_emptied_by_directive() -> None:
    """$patch: replace keeps only what the patch has, $patch: delete nothing."""
    document = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    replaced = apply_strategic_patch(document, {"metadata": {"labels": {"$patch": "replace", "c": "3"}}}, POD)
    assert replaced == {"metadata": {"labels": {"c": "3"}}}
    emptied = apply_strategic_patch(document, {"metadata": {"labels": {"$patch": "delete"}}}, POD)
    assert emptied == {"metadata": {"labels": {}}}


def test_the_order_of_items_follows_the_directive() -> None:
    """$setElementOrder sorts the items that it lists, the server's own stay before what they stood before."""
    document = template({"name": "a"}, {"name": "mine"}, {"name": "b"})
    patch = template({"name": "b", "image": "2"})
    patch["spec"]["template"]["spec"]["$setElementOrder/containers"] = [{"name": "b"}, {"name": "a"}]
    patched = containers_of(apply_strategic_patch(document, patch, DEPLOYMENT))
    assert [item["name"] for item in patched] == ["mine", "b", "a"]


def test_lists_of_scalars_are_merged_and_deleted_from() -> None:
    """Finalizers are a set: added once, taken away by $deleteFromPrimitiveList."""
    document = {"metadata": {"finalizers": ["a", "b"]}}
    patch = {"metadata": {"finalizers": ["b", "c"], "$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert apply_strategic_patch(document, patch, POD) == {"metadata": {"finalizers": ["b", "c"]}}


def test_lists_without_a_merge_strategy_are_replaced() -> None:
    """Arguments are one value."""
    document = template({"name": "a", "args": ["x", "y"]})
    patch = template({"name": "a", "args": ["z"]})
    assert containers_of(apply_strategic_patch(document, patch, DEPLOYMENT))[0]["args"] == ["z"]


def test_retain_keys_drops_the_others() -> None:
    """A change of the deployment's strategy leaves nothing of the old one."""
    document = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"type": "Recreate", "$retainKeys": ["type"]}}}
    assert apply_strategic_patch(document, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_null_removes_a_field() -> None:
    """As in a merge patch, also in what is new."""
    document = {"spec": {"replicas": 1, "paused": True}}
    patched = apply_strategic_patch(document, {"spec": {"paused": None, "selector": {"matchLabels": None}}}, DEPLOYMENT)
    assert patched == {"spec": {"replicas": 1, "selector": {}}}


def test_a_new_item_comes_before_what_it_does_not_name() -> None:
    """The example of Kubernetes' page on kubectl patch: the patch's container is first."""
    document = template({"name": "patch-demo-ctr", "image": "nginx"})
    patched = containers_of(apply_strategic_patch(document, template({"name": "ctr-2", "image": "redis"}), DEPLOYMENT))
    assert [item["name"] for item in patched] == ["ctr-2", "patch-demo-ctr"]


@pytest.mark.parametrize(
    ("live", "patch", "order", "expected"),
    [
        ("ab", "b", None, "ab"),
        ("ab", "ba", None, "ba"),
        ("ab", "c", None, "cab"),
        ("abc", "xc", None, "xabc"),
        ("abc", "", "ca", "bca"),
        ("ab", "c", "cab", "cab"),
        ("abd", "c", "acb", "acbd"),
    ],
)
def test_the_order_of_merged_items(live: str, patch: str, order: str | None, expected: str) -> None:
    """The patch's items are in its order, the others where the stored order puts them between."""
    body = template(*({"name": name} for name in patch))
    if order is not None:
        body["spec"]["template"]["spec"]["$setElementOrder/containers"] = [{"name": name} for name in order]
    if not patch:
        del body["spec"]["template"]["spec"]["containers"]
    patched = containers_of(apply_strategic_patch(template(*({"name": name} for name in live)), body, DEPLOYMENT))
    assert "".join(item["name"] for item in patched) == expected


def test_a_list_is_replaced_by_what_stands_beside_the_directive() -> None:
    """Wherever the directive stands, and whatever else is in its item."""
    document = template({"name": "a"}, {"name": "b"})
    for directive in ({"$patch": "replace"}, {"$patch": "replace", "name": "a", "image": "ignored"}):
        patched = apply_strategic_patch(document, template({"name": "c"}, directive), DEPLOYMENT)
        assert containers_of(patched) == [{"name": "c"}]


def test_items_of_one_merge_key_are_told_apart_by_nothing_else() -> None:
    """Two ports of one number: a patch changes the first, a deletion takes both, as in Kubernetes."""
    ports = [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]
    document = template({"name": "dns", "ports": ports})
    named = template({"name": "dns", "ports": [{"containerPort": 53, "name": "x"}]})
    patched = containers_of(apply_strategic_patch(document, named, DEPLOYMENT))[0]["ports"]
    assert [port.get("name") for port in patched] == ["x", None]
    gone = template({"name": "dns", "ports": [{"containerPort": 53, "$patch": "delete"}]})
    assert containers_of(apply_strategic_patch(document, gone, DEPLOYMENT))[0]["ports"] == []


def test_nested_directives_in_what_is_new() -> None:
    """Nothing of them is stored where there is nothing to merge with."""
    patch = {"spec": {"template": {"$patch": "delete"}, "strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert apply_strategic_patch({}, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"spec": {"$patch": "unknown"}},
        {"spec": {"strategy": {"type": "Recreate", "$retainKeys": []}}},
        {"spec": {"template": {"spec": {"containers": [{"image": "no name"}]}}}},
        {"spec": {"template": {"spec": {"containers": [{"$patch": "delete"}]}}}},
        {"spec": {"template": {"spec": {"containers": [{"name": "a", "$patch": "merge"}]}}}},
        {"spec": {"template": {"spec": {"containers": [{"name": "a", "$patch": "what"}]}}}},
        {"spec": {"template": {"spec": {"containers": [{"name": "a"}], "$setElementOrder/containers": []}}}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}},
    ],
)
def test_malformed_strategic_patches(patch: Any) -> None:
    """They are refused, not guessed at."""
    document = {"spec": template({"name": "a"})["spec"] | {"strategy": {"type": "RollingUpdate"}}, "metadata": {}}
    with pytest.raises(ApiError) as caught:
        apply_strategic_patch(document, patch, DEPLOYMENT)
    assert caught.value.code in (400, 422)
