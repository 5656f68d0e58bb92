"""Where kinds have what their Scale shows."""

from __future__ import annotations

from typing import Any

from flotilla.api.crd.rows import rows_of
from flotilla.api.kinds.resource import Resource
from flotilla.api.objects import KubeObject
from flotilla.api.resources import DEPLOYMENTS
from flotilla.api.scales import seen_replicas, selector_text, wanted_replicas, with_replicas


def _custom(**paths: str) -> Resource:
    """The row of a kind with these paths."""
    scale = {"specReplicasPath": ".spec.pool.size", "statusReplicasPath": ".status.ready"} | paths
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"}},
        "subresources": {"scale": scale},
    }
    names = {"plural": "pools", "kind": "Pool"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    (row,) = rows_of({"spec": spec, "status": {"acceptedNames": names}}, terminating=False)
    return row


def test_kinds_of_the_release_have_fixed_places() -> None:
    """A workload's replicas and selector must be found where all workloads have them."""
    selector: KubeObject = {"matchLabels": {"app": "web"}}
    obj: KubeObject = {"spec": {"replicas": 3, "selector": selector}, "status": {"replicas": 2}}
    assert (wanted_replicas(DEPLOYMENTS, obj), seen_replicas(DEPLOYMENTS, obj)) == (3, 2)
    assert selector_text(DEPLOYMENTS, obj) == "app=web"
    assert with_replicas(DEPLOYMENTS, obj, 5)["spec"] == {"replicas": 5, "selector": selector}
    assert obj["spec"]["replicas"] == 3


def test_custom_kinds_have_the_places_of_their_definition() -> None:
    """Paths must be followed and made, and what is not a number must count as none."""
    row = _custom(labelSelectorPath=".status.selector")
    obj: dict[str, Any] = {"spec": {"pool": {"size": 3, "x": 1}}, "status": {"ready": 2, "selector": "a=b"}}
    assert (wanted_replicas(row, obj), seen_replicas(row, obj), selector_text(row, obj)) == (3, 2, "a=b")
    assert with_replicas(row, obj, 5)["spec"] == {"pool": {"size": 5, "x": 1}}
    assert with_replicas(row, {}, 5) == {"spec": {"pool": {"size": 5}}}
    odd: dict[str, Any] = {"spec": {"pool": {"size": True}}, "status": "x"}
    assert (wanted_replicas(row, odd), seen_replicas(row, odd), selector_text(row, odd)) == (0, 0, "")
    assert wanted_replicas(row, {}, unset=1) == 1
    assert selector_text(_custom(), obj) == ""
