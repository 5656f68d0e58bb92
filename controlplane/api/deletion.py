"""What a DELETE means for one object, decided as data: the rules of Kubernetes' ``rest.BeforeDelete`` and its store.

A pod is asked to stop first and removed when its node says that it has stopped (grace 0). An object with finalizers
stays, marked by ``deletionTimestamp``, until its finalizers are gone. How dependents go is written down as a finalizer
(``foregroundDeletion``, ``orphan``) for the garbage collector; without one they go in the background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from controlplane.api.write_rules import orphans_by_default
from flotilla.api.errors import FieldError, conflict, invalid
from flotilla.api.objects import KubeObject, format_time
from flotilla.api.registry import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
DEFAULT_GRACE_S = 30
_POLICIES = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """``metav1.DeleteOptions``; empty or None is unset. ``resource_version`` and ``uid`` are preconditions."""

    grace_period_s: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Deletion:
    """``obj`` is the state to store, or with ``remove`` the last state; ``changed`` is False if nothing is to do."""

    obj: KubeObject
    remove: bool
    changed: bool


def parse_delete_options(body: Mapping[str, Any]) -> DeleteOptions:
    """Options from a decoded DeleteOptions body. Invalid for an unknown policy or a contradiction."""
    policy = body.get("propagationPolicy") or ""
    orphan = body.get("orphanDependents")
    if policy and policy not in _POLICIES:
        supported = ", ".join(f'"{one}"' for one in (*_POLICIES, "nil"))
        raise _options_error("propagationPolicy", f'Unsupported value: "{policy}": supported values: {supported}')
    if policy and orphan is not None:
        raise _options_error(
            "propagationPolicy", "Invalid value: orphanDependents and deletionPropagation cannot be both set"
        )
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        grace_period_s=body.get("gracePeriodSeconds"),
        propagation=policy,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=bool(body.get("dryRun")),
    )


def _options_error(field: str, message: str) -> Exception:
    reason = "FieldValueNotSupported" if message.startswith("Unsupported") else "FieldValueInvalid"
    return invalid("DeleteOptions", "", [FieldError(field, message, reason)], group="meta.k8s.io")


def check_preconditions(resource: Resource, obj: Mapping[str, Any], options: DeleteOptions) -> None:
    """Conflict unless the object is the one that the caller meant."""
    metadata = obj["metadata"]
    wanted = (("UID", options.uid, "uid"), ("ResourceVersion", options.resource_version, "resourceVersion"))
    for word, expected, field in wanted:
        if expected and expected != metadata.get(field):
            where = f"{word} in precondition: {expected}, {word} in object meta: {metadata.get(field)}"
            raise conflict(resource.plural, metadata["name"], f"Precondition failed: {where}", group=resource.group)


def plan_deletion(resource: Resource, obj: KubeObject, options: DeleteOptions, *, now: datetime) -> Deletion:
    """Decide on ``obj``, a private copy that is edited."""
    metadata = obj["metadata"]
    before = (metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds"), list(_finalizers(obj)))
    if resource.strategy.prepare_for_delete is not None and not before[0]:
        resource.strategy.prepare_for_delete(obj, now)
    _mark_propagation(resource, metadata, options.propagation)
    grace_s = _grace_s(resource, obj, options)
    if metadata.get("deletionTimestamp") is not None:
        grace_s = min(grace_s, int(metadata.get("deletionGracePeriodSeconds") or 0))
    if grace_s == 0 and not _finalizers(obj) and not _namespace_finalizers(resource, obj):
        return Deletion(obj, remove=True, changed=True)
    _mark_deleted(metadata, grace_s, now)
    if resource.kind == "Namespace":
        obj.setdefault("status", {})["phase"] = "Terminating"
    after = (metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"], list(_finalizers(obj)))
    return Deletion(obj, remove=False, changed=before != after)


def is_finished(resource: Resource, obj: Mapping[str, Any]) -> bool:
    """Whether an object on its way out has nothing left to wait for, so that storing it means removing it."""
    metadata = obj["metadata"]
    if metadata.get("deletionTimestamp") is None or _finalizers(obj) or _namespace_finalizers(resource, obj):
        return False
    return not (resource.strategy.graceful_deletion and metadata.get("deletionGracePeriodSeconds"))


def _mark_deleted(metadata: KubeObject, grace_s: int, now: datetime) -> None:
    if metadata.get("deletionTimestamp") is None:
        metadata["deletionTimestamp"] = format_time(now + timedelta(seconds=grace_s))
        metadata["deletionGracePeriodSeconds"] = grace_s
        if metadata.get("generation"):
            metadata["generation"] += 1
    elif grace_s < int(metadata.get("deletionGracePeriodSeconds") or 0):
        metadata["deletionTimestamp"] = format_time(now + timedelta(seconds=grace_s))
        metadata["deletionGracePeriodSeconds"] = grace_s


def _grace_s(resource: Resource, obj: Mapping[str, Any], options: DeleteOptions) -> int:
    if not resource.strategy.graceful_deletion:
        return 0
    spec = obj.get("spec") or {}
    if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return 0
    grace_s = options.grace_period_s
    if grace_s is None:
        grace_s = spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
    return 1 if grace_s < 0 else int(grace_s)


def _mark_propagation(resource: Resource, metadata: KubeObject, policy: str) -> None:
    """An explicit policy decides, then what the object's finalizers say already, then the kind's default."""
    if not policy:
        decided = not {FOREGROUND, ORPHAN}.isdisjoint(metadata.get("finalizers") or ())
        if decided or not orphans_by_default(resource):
            return
        policy = "Orphan"
    finalizers = [name for name in metadata.get("finalizers") or () if name not in (FOREGROUND, ORPHAN)]
    if policy == "Foreground":
        finalizers.append(FOREGROUND)
    elif policy == "Orphan":
        finalizers.append(ORPHAN)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)


def _finalizers(obj: Mapping[str, Any]) -> list[str]:
    finalizers: list[str] = obj["metadata"].get("finalizers") or []
    return finalizers


def _namespace_finalizers(resource: Resource, obj: Mapping[str, Any]) -> list[str]:
    if resource.kind != "Namespace":
        return []
    finalizers: list[str] = (obj.get("spec") or {}).get("finalizers") or []
    return finalizers
