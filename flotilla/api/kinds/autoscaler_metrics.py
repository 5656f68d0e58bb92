"""Validation of the metrics of a HorizontalPodAutoscaler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, forbidden, invalid, not_positive, required, unsupported
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.names import dns_label_faults
from flotilla.api.quantities import parse_quantity

SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_TARGET_TYPES = ("Utilization", "Value", "AverageValue")


def _validate_target(target: Mapping[str, Any] | None, path: str) -> list[FieldError]:
    if not target:
        return [required(path)]
    errors: list[FieldError] = []
    kind = target.get("type")
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric target type"))
    elif kind not in _TARGET_TYPES:
        errors.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    given = [field for field in ("value", "averageValue") if target.get(field) is not None]
    errors += [
        invalid(f"{path}.{field}", target[field], "must be positive")
        for field in given
        if parse_quantity(target[field]) <= 0
    ]
    return errors + not_positive(f"{path}.averageUtilization", target.get("averageUtilization"))


def _validate_name(metric: Mapping[str, Any] | None, path: str) -> list[FieldError]:
    name = (metric or {}).get("name")
    if not name:
        return [required(f"{path}.name")]
    errors = [invalid(f"{path}.name", name, "may not contain '/' or '%'")] if set("/%") & set(name) else []
    if metric and metric.get("selector") is not None:
        errors += validate_label_selector(metric["selector"], f"{path}.selector")
    return errors


def _validate_resource(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = [] if source.get("name") else [required(f"{path}.name", "must specify a resource name")]
    target = source.get("target") or {}
    errors += _validate_target(target, f"{path}.target")
    utilization, value = target.get("averageUtilization"), target.get("averageValue")
    if utilization is None and value is None:
        why = "must set either a target raw value or a target utilization"
        errors.append(required(f"{path}.target.averageUtilization", why))
    elif utilization is not None and value is not None:
        why = "may not set both a target raw value and a target utilization"
        errors.append(forbidden(f"{path}.target.averageValue", why))
    return errors


def _validate_container_resource(source: Mapping[str, Any], path: str) -> list[FieldError]:
    container = source.get("container")
    if not container:
        return [required(f"{path}.container", "must specify a container"), *_validate_resource(source, path)]
    return each_invalid(f"{path}.container", container, dns_label_faults(container)) + _validate_resource(source, path)


def _validate_pods(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = _validate_name(source.get("metric"), f"{path}.metric")
    errors += _validate_target(source.get("target"), f"{path}.target")
    if (source.get("target") or {}).get("averageValue") is None:
        errors.append(required(f"{path}.target.averageValue", "must specify a positive target averageValue"))
    return errors


def _validate_value_or_average(target: Mapping[str, Any], path: str) -> list[FieldError]:
    value, average = target.get("value"), target.get("averageValue")
    if value is None and average is None:
        return [required(f"{path}.averageValue", "must set either a target value for metric or a per-pod target")]
    if value is not None and average is not None:
        return [forbidden(f"{path}.value", "may not set both a target value for metric and a per-pod target")]
    return []


def _validate_external(source: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = _validate_name(source.get("metric"), f"{path}.metric")
    errors += _validate_target(source.get("target"), f"{path}.target")
    return errors + _validate_value_or_average(source.get("target") or {}, f"{path}.target")


def validate_reference(reference: Mapping[str, Any] | None, path: str) -> list[FieldError]:
    """Faults of a reference to another object by kind and name."""
    errors: list[FieldError] = []
    for field in ("kind", "name"):
        value = (reference or {}).get(field)
        if not value:
            errors.append(required(f"{path}.{field}"))
        elif set("/%") & set(value) or value in (".", ".."):
            errors.append(invalid(f"{path}.{field}", value, "must be a path segment: no '/', '%', '.' or '..'"))
    return errors


def _validate_object(source: Mapping[str, Any], path: str) -> list[FieldError]:
    return validate_reference(source.get("describedObject"), f"{path}.describedObject") + _validate_external(
        source, path
    )


_VALIDATORS = {
    "ContainerResource": _validate_container_resource,
    "External": _validate_external,
    "Object": _validate_object,
    "Pods": _validate_pods,
    "Resource": _validate_resource,
}


def validate_metrics(metrics: list[dict[str, Any]], path: str) -> list[FieldError]:
    """Faults of ``spec.metrics``."""
    errors: list[FieldError] = []
    for index, metric in enumerate(metrics):
        where, kind = f"{path}[{index}]", metric.get("type")
        if not kind:
            errors.append(required(f"{where}.type", "must specify a metric source type"))
            continue
        if kind not in SOURCES:
            errors.append(unsupported(f"{where}.type", kind, SOURCES))
            continue
        others = [field for field in SOURCES.values() if metric.get(field) is not None and field != SOURCES[kind]]
        errors += [forbidden(f"{where}.{field}", "must populate the given metric source only") for field in others]
        source = metric.get(SOURCES[kind])
        if source is None:
            why = "must populate information for the given metric source"
            errors.append(required(f"{where}.{SOURCES[kind]}", why))
        else:
            errors += _VALIDATORS[kind](source, f"{where}.{SOURCES[kind]}")
    return errors
