"""Which part of an object a write through a subresource may change; everything else stays as it was.

``status`` replaces the status (and, of the kinds of the release, labels, annotations, finalizers and owners, as
Kubernetes lets it), ``binding`` assigns a pod to a node (and says so in its conditions, in one write), ``scale`` sets
the replica count, ``ephemeralcontainers`` and ``resize`` those parts of a pod's spec, ``finalize`` a namespace's
finalizers, ``approval`` decides on a certificate request.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime

from flotilla.api.errors import conflict, not_found
from flotilla.api.objects import KubeObject, format_time
from flotilla.api.registry import Resource
from flotilla.api.scales import seen_replicas, spec_path, wanted_replicas, with_replicas

SCALE_API_VERSION = "autoscaling/v1"
UNRECORDED = frozenset({"binding"})
"""Subresources whose writes leave no trace in managedFields."""
DEFAULTED = frozenset({"ephemeralcontainers", "resize"})
"""Subresources that set what has defaults: a part of the spec."""

_METADATA_WITH_STATUS = ("labels", "annotations", "finalizers", "ownerReferences")
_METADATA_KEPT = {"apps/deployments": "labels", "pods": "ownerReferences"}
_RESIZABLE = ("resources", "resizePolicy")
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
    merged = _status_alone(new, old)
    if resource.shape is None:
        merged["metadata"] = _metadata_with_status(resource, new, old)
    if resource.storage == "pods" and not (new.get("status") or {}).get("qosClass"):
        merged["status"] = (new.get("status") or {}) | {"qosClass": (old.get("status") or {}).get("qosClass", "")}
    return merged


def _status_alone(new: KubeObject, old: KubeObject) -> KubeObject:
    merged = copy(old)
    if "status" in new:
        merged["status"] = new["status"]
    else:
        merged.pop("status", None)
    return merged


def _metadata_with_status(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    metadata: KubeObject = dict(old["metadata"])
    for field in _METADATA_WITH_STATUS:
        if field == _METADATA_KEPT.get(resource.storage):
            continue
        if new["metadata"].get(field):
            metadata[field] = new["metadata"][field]
        else:
            metadata.pop(field, None)
    return metadata


def _binding(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    node = (new.get("spec") or {}).get("nodeName") or ""
    assigned = (old.get("spec") or {}).get("nodeName") or ""
    name = old["metadata"]["name"]
    if old["metadata"].get("deletionTimestamp"):
        raise conflict("pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if assigned and assigned != node:
        raise conflict("pods/binding", name, f'pod {name} is already assigned to node "{assigned}"')
    merged = _status_alone(new, old)
    merged["spec"] = (old.get("spec") or {}) | {"nodeName": node}
    annotations = (old["metadata"].get("annotations") or {}) | (new["metadata"].get("annotations") or {})
    if annotations:
        merged["metadata"] = old["metadata"] | {"annotations": annotations}
    return merged


def _ephemeral_containers(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    added = (new.get("spec") or {}).get("ephemeralContainers")
    spec = {name: value for name, value in old["spec"].items() if name != "ephemeralContainers"}
    return _with_spec(old, spec | {"ephemeralContainers": added} if added else spec)


def _resize(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    spec, was = new.get("spec") or {}, old["spec"]
    resized = {kind: _resized(spec.get(kind), was[kind]) for kind in ("containers", "initContainers") if was.get(kind)}
    return _with_spec(old, was | resized)


def _resized(containers: list[KubeObject] | None, was: list[KubeObject]) -> list[KubeObject]:
    """``was`` with what may be resized taken from ``containers``; those themselves, for validation to refuse, where
    they are others or in another order."""
    names = [container.get("name") for container in containers or ()]
    if containers is None or names != [container["name"] for container in was]:
        return containers or []
    result = []
    for container, before in zip(containers, was, strict=True):
        kept = {name: value for name, value in before.items() if name not in _RESIZABLE}
        result.append(kept | {name: container[name] for name in _RESIZABLE if name in container})
    return result


def applied_part(subresource: str, config: KubeObject) -> KubeObject:
    """What of an applied configuration a subresource sets, and its applier comes to own."""
    spec = config.get("spec") or {}
    if subresource == "ephemeralcontainers":
        return _without_metadata(config, {name: spec[name] for name in ("ephemeralContainers",) if name in spec})
    if subresource == "resize":
        kinds = [kind for kind in ("containers", "initContainers") if spec.get(kind)]
        return _without_metadata(config, {kind: [_sizes(container) for container in spec[kind]] for kind in kinds})
    return config


def _sizes(container: KubeObject) -> KubeObject:
    return {name: container[name] for name in ("name", *_RESIZABLE) if name in container}


def _without_metadata(config: KubeObject, spec: KubeObject) -> KubeObject:
    """The configuration of a spec alone, for an object of the same name."""
    metadata = config.get("metadata") or {}
    named = {name: metadata[name] for name in ("name", "namespace") if name in metadata}
    return {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": named, "spec": spec}


def _with_spec(old: KubeObject, spec: KubeObject) -> KubeObject:
    """``old`` with another spec, which is another generation."""
    merged = copy(old) | {"spec": spec}
    if spec != old.get("spec"):
        generation = int(old["metadata"].get("generation") or 0) + 1
        merged["metadata"] = old["metadata"] | {"generation": generation}
    return merged


def _scale(resource: Resource, new: KubeObject, old: KubeObject) -> KubeObject:
    wanted = with_replicas(resource, old, wanted_replicas(resource, new))
    return _with_spec(old, wanted.get("spec") or {})


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
    "ephemeralcontainers": _ephemeral_containers,
    "resize": _resize,
    "finalize": _finalize,
    "approval": _approval,
}


def scale_of(resource: Resource, obj: KubeObject, selector: str) -> KubeObject:
    """The ``autoscaling/v1`` Scale view of a workload; ``selector`` is its label selector's text."""
    fields = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {field: obj["metadata"][field] for field in fields if field in obj["metadata"]}
    managers = [
        _scale_manager(entry) for entry in obj["metadata"].get("managedFields") or () if _owns_replicas(entry, resource)
    ]
    if managers:
        metadata["managedFields"] = managers
    return {
        "kind": "Scale",
        "apiVersion": SCALE_API_VERSION,
        "metadata": metadata,
        "spec": {"replicas": wanted_replicas(resource, obj)},
        "status": {"replicas": seen_replicas(resource, obj), "selector": selector},
    }


def _owns_replicas(entry: KubeObject, resource: Resource) -> bool:
    fields = entry.get("fieldsV1") or {}
    for name in spec_path(resource):
        if f"f:{name}" not in fields:
            return False
        fields = fields[f"f:{name}"]
    return True


def _scale_manager(entry: KubeObject) -> KubeObject:
    return entry | {"apiVersion": SCALE_API_VERSION, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
