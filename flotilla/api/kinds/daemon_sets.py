"""DaemonSet: its strategy. An annotation counts the generations of its template, for clients of older API versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid, negative, required, unsupported
from flotilla.api.kinds.metadata import begin_generation, carry_generation, metadata_fields, validate_metadata
from flotilla.api.kinds.pod_templates import (
    default_template,
    template_warnings,
    validate_endless_template,
    validate_selector_update,
    validate_workload_selector,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.status_counts import counts_status
from flotilla.api.kinds.stored_only import stored_only
from flotilla.api.kinds.update_steps import more_than_all, step_amount, validate_step
from flotilla.api.objects import KubeObject

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_PREFIX = "spec.updateStrategy.rollingUpdate"
_STRATEGIES = ("RollingUpdate", "OnDelete")
_COUNTS = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
)


def _default(daemon_set: KubeObject) -> None:
    spec = daemon_set.setdefault("spec", {})
    strategy = spec.setdefault("updateStrategy", {})
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        update = strategy.setdefault("rollingUpdate", {})
        update.setdefault("maxUnavailable", 1)
        update.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    default_template(spec)


def _validate_rolling_update(update: Mapping[str, Any]) -> list[FieldError]:
    unavailable, surge = update.get("maxUnavailable", 0), update.get("maxSurge", 0)
    steps = ((f"{_PREFIX}.maxUnavailable", unavailable), (f"{_PREFIX}.maxSurge", surge))
    errors = [error for path, step in steps for error in validate_step(step, path)]
    if errors:
        return errors
    errors = [error for path, step in steps for error in more_than_all(step, path)]
    if step_amount(unavailable) and step_amount(surge):
        errors.append(invalid(f"{_PREFIX}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    elif not step_amount(unavailable) and not step_amount(surge):
        errors.append(required(f"{_PREFIX}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return errors


def _validate_update_strategy(strategy: Mapping[str, Any]) -> list[FieldError]:
    if strategy.get("type") == "OnDelete":
        return []
    if strategy.get("type") != "RollingUpdate":
        return [unsupported("spec.updateStrategy", strategy, _STRATEGIES)]
    update = strategy.get("rollingUpdate")
    return [required(_PREFIX)] if update is None else _validate_rolling_update(update)


def _validate(daemon_set: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = daemon_set["spec"]
    errors = validate_metadata(daemon_set) + validate_workload_selector(spec, "daemonset")
    errors += validate_endless_template(spec.get("template"), kind="DaemonSet")
    for field in ("minReadySeconds", "revisionHistoryLimit"):
        errors += negative(f"spec.{field}", spec.get(field))
    errors += _validate_update_strategy(spec.get("updateStrategy") or {})
    return errors if old is None else errors + validate_selector_update(daemon_set, old)


def _set_template_generation(daemon_set: KubeObject, generation: int) -> None:
    annotations = daemon_set["metadata"].get("annotations") or {}
    daemon_set["metadata"]["annotations"] = {**annotations, TEMPLATE_GENERATION: str(generation)}


def _template_generation(daemon_set: KubeObject) -> int:
    text = (daemon_set["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 1


_begin = begin_generation("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")


def _prepare_for_create(daemon_set: KubeObject) -> None:
    _begin(daemon_set)
    _set_template_generation(daemon_set, 1)


def _prepare_for_update(daemon_set: KubeObject, old: KubeObject) -> None:
    carry_generation(daemon_set, old)
    changed = (daemon_set.get("spec") or {}).get("template") != (old.get("spec") or {}).get("template")
    _set_template_generation(daemon_set, _template_generation(old) + changed)


def _warnings(daemon_set: KubeObject) -> list[str]:
    warning = stored_only("DaemonSet", "its pods will not be created")
    return [warning, *template_warnings(daemon_set["spec"], "spec.template")]


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=_prepare_for_update,
    warnings=_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
    validate_subresource=counts_status(_COUNTS),
)
