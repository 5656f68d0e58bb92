"""StatefulSet: its strategy.

The pod template is not validated beyond its labels and annotations, as in Kubernetes: its volume mounts may name the
claims that only the controller adds to a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.claims import PENDING
from flotilla.api.kinds.faults import forbidden, invalid, negative, required, unsupported
from flotilla.api.kinds.metadata import begin_generation, carry_generation, metadata_fields, validate_metadata
from flotilla.api.kinds.pod_templates import (
    default_template,
    template_warnings,
    validate_endless,
    validate_template_metadata,
    validate_workload_selector,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.status_counts import counts_status
from flotilla.api.kinds.stored_only import stored_only
from flotilla.api.kinds.update_steps import more_than_all, step_amount, validate_step
from flotilla.api.kinds.volume_defaults import default_claim_spec
from flotilla.api.names import dns_label_faults
from flotilla.api.objects import KubeObject

_MANAGEMENT_POLICIES = ("OrderedReady", "Parallel")
_RETENTION_POLICIES = ("Retain", "Delete")
_MUTABLE = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
)
_ONLY = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_PREFIX = "spec.updateStrategy.rollingUpdate"
_PARTS = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
_COUNTS = ("replicas", *_PARTS, "observedGeneration", "collisionCount")


def _default_update_strategy(spec: KubeObject) -> None:
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    update = strategy.get("rollingUpdate")
    if strategy["type"] == "RollingUpdate" and update is not None:
        update.setdefault("partition", 0)
        update.setdefault("maxUnavailable", 1)


def _default_claim_template(claim: KubeObject) -> None:
    claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
    default_claim_spec(claim.setdefault("spec", {}))
    claim["status"] = {**(claim.get("status") or {}), "phase": (claim.get("status") or {}).get("phase") or PENDING}


def _default(stateful_set: KubeObject) -> None:
    spec = stateful_set.setdefault("spec", {})
    spec["podManagementPolicy"] = spec.get("podManagementPolicy") or "OrderedReady"
    _default_update_strategy(spec)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    for event in ("whenDeleted", "whenScaled"):
        retention[event] = retention.get(event) or "Retain"
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    default_template(spec)
    for claim in spec.get("volumeClaimTemplates") or ():
        _default_claim_template(claim)


def _validate_rolling_update(update: Mapping[str, Any]) -> list[FieldError]:
    errors = negative(f"{_PREFIX}.partition", update.get("partition"))
    step, path = update.get("maxUnavailable"), f"{_PREFIX}.maxUnavailable"
    if step is None:
        return errors
    faults = validate_step(step, path)
    if faults:
        return errors + faults
    if step_amount(step) == 0:
        errors.append(invalid(path, step, "cannot be 0"))
    return errors + more_than_all(step, path)


def _validate_update_strategy(strategy: Mapping[str, Any]) -> list[FieldError]:
    kind, update = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "RollingUpdate":
        return _validate_rolling_update(update) if update is not None else []
    if kind != "OnDelete":
        return [invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'")]
    if update is None:
        return []
    return [invalid(_PREFIX, update, "only allowed for updateStrategy 'RollingUpdate'")]


def _validate_spec(spec: Mapping[str, Any]) -> list[FieldError]:
    policy = spec.get("podManagementPolicy")
    errors: list[FieldError] = []
    if policy not in _MANAGEMENT_POLICIES:
        errors.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    errors += _validate_update_strategy(spec.get("updateStrategy") or {})
    for event, retention in (spec.get("persistentVolumeClaimRetentionPolicy") or {}).items():
        if retention not in _RETENTION_POLICIES:
            path = f"spec.persistentVolumeClaimRetentionPolicy.{event}"
            errors.append(unsupported(path, retention, _RETENTION_POLICIES))
    for field in ("replicas", "minReadySeconds"):
        errors += negative(f"spec.{field}", spec.get(field))
    errors += negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    errors += validate_workload_selector(spec, "statefulset")
    template = spec.get("template")
    if template is None:
        return [*errors, required("spec.template")]
    errors += validate_template_metadata(template, "spec.template")
    return errors + validate_endless(template, "spec.template", kind="StatefulSet")


def _validate_update(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    changed = {field for field in spec.keys() | was.keys() if spec.get(field) != was.get(field)}
    return [forbidden("spec", _ONLY)] if changed - _MUTABLE else []


def _validate(stateful_set: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(stateful_set, name_faults=dns_label_faults)
    errors += _validate_spec(stateful_set["spec"])
    return errors if old is None else errors + _validate_update(stateful_set["spec"], old["spec"])


def _warnings(stateful_set: KubeObject) -> list[str]:
    spec = stateful_set["spec"]
    warnings = template_warnings(spec, "spec.template")
    if (spec.get("revisionHistoryLimit") or 0) < 0:
        warnings.append(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
        )
    return [stored_only("StatefulSet", "its pods will not be created"), *warnings]


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=begin_generation("replicas", "availableReplicas"),
    prepare_for_update=carry_generation,
    warnings=_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
    validate_subresource=counts_status(_COUNTS, parts=_PARTS, ready="status.readyReplicas"),
)
