"""Deployment: its strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    forbidden,
    invalid,
    negative,
    unsupported,
)
from flotilla.api.kinds.metadata import (
    begin_generation,
    carry_generation,
    metadata_fields,
    validate_metadata,
)
from flotilla.api.kinds.pod_templates import (
    default_template,
    template_warnings,
    validate_endless_template,
    validate_selector_update,
    validate_workload_selector,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.status_counts import counts_status
from flotilla.api.kinds.update_steps import more_than_all, step_amount, validate_step
from flotilla.api.objects import KubeObject

_STEP = "25%"
_PARTS = ("updatedReplicas", "readyReplicas", "availableReplicas")
_COUNTS = ("replicas", *_PARTS, "unavailableReplicas", "observedGeneration", "collisionCount")


def _default(deployment: KubeObject) -> None:
    spec = deployment.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        update = strategy.setdefault("rollingUpdate", {})
        update.setdefault("maxUnavailable", _STEP)
        update.setdefault("maxSurge", _STEP)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    default_template(spec)


def _validate_rolling_update(update: Mapping[str, Any], path: str) -> list[FieldError]:
    surge, unavailable = update.get("maxSurge", _STEP), update.get("maxUnavailable", _STEP)
    errors = validate_step(unavailable, f"{path}.maxUnavailable") + validate_step(surge, f"{path}.maxSurge")
    if errors:
        return errors
    if step_amount(surge) == 0 and step_amount(unavailable) == 0:
        errors.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    return errors + more_than_all(unavailable, f"{path}.maxUnavailable")


def _validate_strategy(strategy: Mapping[str, Any], path: str) -> list[FieldError]:
    kind, update = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        why = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden(f"{path}.rollingUpdate", why)] if update is not None else []
    if kind != "RollingUpdate":
        return [unsupported(f"{path}.type", kind, ("Recreate", "RollingUpdate"))]
    return _validate_rolling_update(update or {}, f"{path}.rollingUpdate")


def _validate_deadline(spec: Mapping[str, Any]) -> list[FieldError]:
    deadline_s, path = spec.get("progressDeadlineSeconds"), "spec.progressDeadlineSeconds"
    if deadline_s is None or deadline_s > spec.get("minReadySeconds", 0):
        return negative(path, deadline_s)
    return [*negative(path, deadline_s), invalid(path, deadline_s, "must be greater than minReadySeconds")]


def _validate(deployment: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = deployment["spec"]
    errors = validate_metadata(deployment)
    for field in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        errors += negative(f"spec.{field}", spec.get(field))
    errors += validate_workload_selector(spec, "deployment")
    errors += validate_endless_template(spec.get("template"), kind="Deployment")
    errors += _validate_strategy(spec.get("strategy") or {}, "spec.strategy") + _validate_deadline(spec)
    return errors if old is None else errors + validate_selector_update(deployment, old)


def _warnings(deployment: KubeObject) -> list[str]:
    return template_warnings(deployment["spec"], "spec.template")


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=begin_generation(),
    prepare_for_update=carry_generation,
    warnings=_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
    validate_subresource=counts_status(_COUNTS, parts=_PARTS, ready="readyReplicas"),
)
