"""PodDisruptionBudget: its strategy and its table columns.

Source: ``k8s.io/kubernetes/pkg/apis/policy/validation``. As there, the name only has to fit into a path.
"""

from __future__ import annotations

from datetime import datetime

from flotilla.api.errors import FieldError
from flotilla.api.kinds.columns import AGE, NAME, column, spec_of, status_of
from flotilla.api.kinds.faults import invalid, negative, unsupported
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import (
    carry_generation,
    metadata_fields,
    no_defaults,
    no_warnings,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.update_steps import more_than_all, validate_step
from flotilla.api.names import path_segment_faults
from flotilla.api.objects import KubeObject

_EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
_COUNTS = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")


def _validate(budget: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = spec_of(budget)
    errors = validate_metadata(budget, name_faults=path_segment_faults)
    bounds = [field for field in ("minAvailable", "maxUnavailable") if spec.get(field) is not None]
    if len(bounds) == 2:
        errors.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for field in bounds:
        path = f"spec.{field}"
        errors += validate_step(spec[field], path) or more_than_all(spec[field], path)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _EVICTION_POLICIES:
        errors.append(unsupported("spec.unhealthyPodEvictionPolicy", policy, _EVICTION_POLICIES))
    return errors + validate_label_selector(spec.get("selector") or {}, "spec.selector")


def _validate_status(subresource: str, budget: KubeObject, old: KubeObject) -> list[FieldError]:
    """Faults of a status that a controller writes."""
    status = status_of(budget)
    return [error for field in _COUNTS for error in negative(f"status.{field}", status.get(field))]


def _prepare_for_create(budget: KubeObject) -> None:
    budget["metadata"]["generation"] = 1
    budget["status"] = dict.fromkeys(_COUNTS, 0)


def _bound(field: str, budget: KubeObject) -> str:
    value = spec_of(budget).get(field)
    return "N/A" if value is None else str(value)


def _min_available(budget: KubeObject, now: datetime) -> str:
    return _bound("minAvailable", budget)


def _max_unavailable(budget: KubeObject, now: datetime) -> str:
    return _bound("maxUnavailable", budget)


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    prepare_for_update=carry_generation,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
    validate_subresource=_validate_status,
)
COLUMNS = (
    NAME,
    column("Min Available", _min_available, description="The minimum number of pods that must be available."),
    column("Max Unavailable", _max_unavailable, description="The maximum number of pods that may be unavailable."),
    column(
        "Allowed Disruptions",
        lambda obj, now: status_of(obj).get("disruptionsAllowed", 0),
        type_="integer",
        description="Calculated number of pods that may be disrupted at this time.",
    ),
    AGE,
)
