"""Which part of an object a write through a subresource may change; everything else stays as it was.

``status`` replaces the status, ``binding`` assigns a pod to a node (and says so in its conditions, in one write),
``scale`` sets the replica count, ``finalize`` sets a namespace's finalizers, ``approval`` decides on a certificate
request.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime

from flotilla.api.errors import conflict, not_found
from flotilla.api.objects import KubeObject, format_time
from flotilla.api.registry import Resource

SCALE_API_VERSION = "autoscaling/v1"
_Merge = Callable[[Resource, KubeObject, KubeObject], KubeObject]


def merge_subresource(resource: Resource, subresource: str, new: KubeObject, old: KubeObject) -> KubeObject:
    """``old`` with the part that ``subresource`` stands for taken from ``new``. NotFound for an unknown one.

    The result shares what did not change with ``old``; its metadata is its own.
    """
    merge = _MERGES.get(subresource)
    if merge is None:
        raise not_found(f"{resource.plural}/{subresource}", new["metadata"].get("name") or "", group=resource.group)
    merged = merge(resource, new, old)
    merged["metadata"] = dict(merged["metadata"])
    return merged


def _status(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    merged = copy(old)
    if "status" in new:
        merged["status"] = new["status"]
    else:
        merged.pop("status", None)
    return merged


def _binding(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    node = (new.get("spec") or {}).get("nodeName") or ""
    assigned = (old.get("spec") or {}).get("nodeName") or ""
    name = old["metadata"]["name"]
    if old["metadata"].get("deletionTimestamp"):
        raise conflict("pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if assigned and assigned != node:
        raise conflict("pods/binding", name, f'pod {name} is already assigned to node "{assigned}"')
    merged = _status(resource, new, old)
    merged["spec"] = (old.get("spec") or {}) | {"nodeName": node}
    annotations = (old["metadata"].get("annotations") or {}) | (new["metadata"].get("annotations") or {})
    if annotations:
        merged["metadata"] = old["metadata"] | {"annotations": annotations}
    return merged


def _scale(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    merged = copy(old)
    spec = (old.get("spec") or {}) | {"replicas": (new.get("spec") or {}).get("replicas", 0)}
    merged["spec"] = spec
    if spec != old.get("spec"):
        generation = int(old["metadata"].get("generation") or 0) + 1
        merged["metadata"] = old["metadata"] | {"generation": generation}
    return merged


def _finalize(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    merged = copy(old)
    spec = dict(old.get("spec") or {})
    finalizers = (new.get("spec") or {}).get("finalizers")
    if finalizers:
        spec["finalizers"] = finalizers
    else:
        spec.pop("finalizers", None)
    merged["spec"] = spec
    return merged


def _approval(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    """The conditions, each with its times: clients leave out when the decision was made."""
    merged = copy(old)
    now = format_time(datetime.now(UTC))
    was = {condition.get("type"): condition for condition in (old.get("status") or {}).get("conditions") or ()}
    conditions = [dict(condition) for condition in (new.get("status") or {}).get("conditions") or ()]
    for condition in conditions:
        before = was.get(condition.get("type")) or {}
        same = before.get("status") == condition.get("status")
        condition.setdefault("lastUpdateTime", now)
        condition.setdefault("lastTransitionTime", before.get("lastTransitionTime", now) if same else now)
    merged["status"] = (old.get("status") or {}) | ({"conditions": conditions} if conditions else {})
    return merged


_MERGES: dict[str, _Merge] = {
    "status": _status,
    "binding": _binding,
    "scale": _scale,
    "finalize": _finalize,
    "approval": _approval,
}


def scale_of(resource: Resource, obj: KubeObject, selector: str) -> KubeObject:
    """The ``autoscaling/v1`` Scale view of a workload; ``selector`` is its label selector's text."""
    fields = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {field: obj["metadata"][field] for field in fields if field in obj["metadata"]}
    return {
        "kind": "Scale",
        "apiVersion": SCALE_API_VERSION,
        "metadata": metadata,
        "spec": {"replicas": (obj.get("spec") or {}).get("replicas", 0)},
        "status": {"replicas": (obj.get("status") or {}).get("replicas", 0), "selector": selector},
    }
