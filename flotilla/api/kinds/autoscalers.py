"""HorizontalPodAutoscaler (autoscaling/v2): its strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.autoscaling_options import read_options
from flotilla.api.errors import FieldError
from flotilla.api.kinds.autoscaler_metrics import validate_metrics, validate_reference
from flotilla.api.kinds.faults import MUST_BE_POSITIVE, MUST_NOT_BE_NEGATIVE, invalid, required, unsupported
from flotilla.api.kinds.metadata import begin_status, keep_status, metadata_fields, no_warnings, validate_metadata
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject
from flotilla.api.quantities import parse_quantity

_LONGEST_WINDOW_S = 3600
_LONGEST_PERIOD_S = 1800
_SELECT_POLICIES = ("Disabled", "Max", "Min")
_POLICY_TYPES = ("Percent", "Pods")
_SCALING_TO_ZERO = frozenset({"Object", "External"})


def _default_metrics() -> list[KubeObject]:
    target = {"type": "Utilization", "averageUtilization": 80}
    return [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def _default_behavior(behavior: KubeObject) -> None:
    doubling = {"type": "Percent", "value": 100, "periodSeconds": 15}
    up = behavior.setdefault("scaleUp", {})
    up.setdefault("stabilizationWindowSeconds", 0)
    up.setdefault("selectPolicy", "Max")
    if up.get("policies") is None:
        up["policies"] = [{"type": "Pods", "value": 4, "periodSeconds": 15}, dict(doubling)]
    down = behavior.setdefault("scaleDown", {})
    down.setdefault("selectPolicy", "Max")
    if down.get("policies") is None:
        down["policies"] = [dict(doubling)]


def _default(autoscaler: KubeObject) -> None:
    """As Kubernetes: an absent ``behavior`` stays absent, a given one is completed."""
    spec = autoscaler.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    spec["metrics"] = spec.get("metrics") or _default_metrics()
    if spec.get("behavior") is not None:
        _default_behavior(spec["behavior"])


def _validate_policy(policy: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if policy.get("type") not in _POLICY_TYPES:
        errors.append(unsupported(f"{path}.type", policy.get("type"), _POLICY_TYPES))
    if policy.get("value", 0) <= 0:
        errors.append(invalid(f"{path}.value", policy.get("value", 0), MUST_BE_POSITIVE))
    period_s = policy.get("periodSeconds", 0)
    if period_s <= 0:
        errors.append(invalid(f"{path}.periodSeconds", period_s, MUST_BE_POSITIVE))
    elif period_s > _LONGEST_PERIOD_S:
        errors.append(invalid(f"{path}.periodSeconds", period_s, f"must be less than or equal to {_LONGEST_PERIOD_S}"))
    return errors


def _validate_rules(rules: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    window_s, tolerance = rules.get("stabilizationWindowSeconds", 0), rules.get("tolerance", 0)
    if window_s < 0:
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window_s, MUST_NOT_BE_NEGATIVE))
    elif window_s > _LONGEST_WINDOW_S:
        why = f"must be less than or equal to {_LONGEST_WINDOW_S}"
        errors.append(invalid(f"{path}.stabilizationWindowSeconds", window_s, why))
    if parse_quantity(tolerance) < 0:
        errors.append(invalid(f"{path}.tolerance", tolerance, MUST_NOT_BE_NEGATIVE))
    if rules.get("selectPolicy", "Max") not in _SELECT_POLICIES:
        errors.append(unsupported(f"{path}.selectPolicy", rules["selectPolicy"], _SELECT_POLICIES))
    if not rules.get("policies"):
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.get("policies") or ()):
        errors += _validate_policy(policy, f"{path}.policies[{index}]")
    return errors


def _validate_bounds(spec: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    lowest, highest = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    kinds = {metric.get("type") for metric in spec.get("metrics") or ()}
    if lowest < 0 or (lowest == 0 and not kinds & _SCALING_TO_ZERO):
        errors.append(invalid("spec.minReplicas", lowest, "must be greater than or equal to 1"))
    if highest < 1:
        errors.append(invalid("spec.maxReplicas", highest, MUST_BE_POSITIVE))
    if highest < lowest:
        errors.append(invalid("spec.maxReplicas", highest, "must be greater than or equal to `minReplicas`"))
    return errors


def _validate(autoscaler: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = autoscaler["spec"]
    errors = validate_metadata(autoscaler) + _validate_options(autoscaler) + _validate_bounds(spec)
    errors += validate_reference(spec.get("scaleTargetRef"), "spec.scaleTargetRef")
    errors += validate_metrics(spec.get("metrics") or [], "spec.metrics")
    for direction in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(direction)
        if rules is not None:
            errors += _validate_rules(rules, f"spec.behavior.{direction}")
    return errors


def _validate_options(autoscaler: KubeObject) -> list[FieldError]:
    return [
        invalid(f"metadata.annotations[{name}]", value, expected)
        for name, value, expected in read_options(autoscaler)[1]
    ]


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=begin_status(currentReplicas=0, desiredReplicas=0),
    prepare_for_update=keep_status,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
)
