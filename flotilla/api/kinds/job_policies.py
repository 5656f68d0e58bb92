"""Validation of when a Job counts as failed or as succeeded before all its pods have ended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    duplicate,
    each_invalid,
    invalid,
    invalid_whole,
    negative,
    required,
    too_long,
    too_many,
    unsupported,
)
from flotilla.api.names import qualified_name_faults
from flotilla.api.objects import KubeObject

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_MOST_RULES = 20
_MOST_EXIT_CODES = 255
_MOST_CONDITIONS = 20
_LONGEST_INDEXES = 64 * 1024
_INDEX = re.compile(r"[0-9]{1,10}", re.ASCII)


def default_failure_policy(policy: KubeObject) -> None:
    """Fill a pod failure policy: a condition is meant to be true."""
    for rule in policy.get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern["status"] = pattern.get("status") or "True"


def _one_of(value: str | None, supported: Iterable[str], path: str) -> list[FieldError]:
    listed = list(supported)
    if not value:
        shown = " ".join(f'"{each}"' for each in listed)
        return [required(path, f"valid values: [{shown}]")]
    return [] if value in listed else [unsupported(path, value, listed)]


def _validate_action(rule: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    action = rule.get("action")
    if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        return [invalid(path, action, "requires the backoffLimitPerIndex to be set")]
    return _one_of(action, _ACTIONS, path)


def _validate_values(values: list[int], operator: str | None, path: str) -> list[FieldError]:
    if not values:
        return [invalid(path, values, "at least one value is required")]
    errors = [too_many(path, len(values), _MOST_EXIT_CODES)] if len(values) > _MOST_EXIT_CODES else []
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(invalid(f"{path}[{index}]", value, "must not be 0 for the In operator"))
        if value in seen:
            errors.append(duplicate(f"{path}[{index}]", value))
        seen.add(value)
    return errors if values == sorted(values) else [*errors, invalid(path, values, "must be ordered")]


def _container_names(spec: Mapping[str, Any]) -> set[str]:
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = [*(pod.get("containers") or ()), *(pod.get("initContainers") or ())]
    return {container.get("name", "") for container in containers}


def _validate_exit_codes(codes: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    operator, name = codes.get("operator"), codes.get("containerName")
    errors = _one_of(operator, _OPERATORS, f"{path}.operator")
    if name is not None and name not in _container_names(spec):
        why = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid(f"{path}.containerName", name, why))
    return errors + _validate_values(codes.get("values") or [], operator, f"{path}.values")


def _validate_conditions(patterns: list[KubeObject], path: str) -> list[FieldError]:
    errors = [too_many(path, len(patterns), _MOST_CONDITIONS)] if len(patterns) > _MOST_CONDITIONS else []
    for index, pattern in enumerate(patterns):
        where, kind = f"{path}[{index}]", pattern.get("type") or ""
        errors += each_invalid(f"{where}.type", kind, qualified_name_faults(kind))
        errors += _one_of(pattern.get("status"), _STATUSES, f"{where}.status")
    return errors


def _validate_failure_rule(rule: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    errors = _validate_action(rule, spec, f"{path}.action")
    if codes is not None:
        errors += _validate_exit_codes(codes, spec, f"{path}.onExitCodes")
    errors += _validate_conditions(conditions, f"{path}.onPodConditions")
    if codes is not None and conditions:
        errors.append(invalid_whole(path, "specifying both OnExitCodes and OnPodConditions is not supported"))
    elif codes is None and not conditions:
        errors.append(invalid_whole(path, "specifying one of OnExitCodes and OnPodConditions is required"))
    return errors


def validate_failure_policy(policy: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a pod failure policy at ``path`` in a job's ``spec``."""
    rules = policy.get("rules") or []
    errors = [too_many(f"{path}.rules", len(rules), _MOST_RULES)] if len(rules) > _MOST_RULES else []
    for index, rule in enumerate(rules):
        errors += _validate_failure_rule(rule, spec, f"{path}.rules[{index}]")
    return errors


def count_indexes(text: str, completions: int) -> int:
    """How many indexes a text such as ``1,3-5,7`` lists. Raises ValueError where they are no rising list in range."""
    total, last = 0, -1
    for interval in text.split(",") if text else ():
        limits = interval.split("-")
        if len(limits) > 2:
            raise ValueError(
                f'the fragment "{interval}" violates the requirement that an index interval can have at '
                "most two parts separated by '-'"
            )
        for limit in limits:
            if not _INDEX.fullmatch(limit):
                raise ValueError(f'cannot convert string to integer for index: "{limit}"')
        first, end = int(limits[0]), int(limits[-1])
        for index in {first, end}:
            if index >= completions:
                raise ValueError(f'too large index: "{index}"')
        if first <= last or (len(limits) == 2 and end <= first):
            raise ValueError(f"non-increasing order, previous: {max(last, first)}, current: {end}")
        total, last = total + end - first + 1, end
    return total


def _validate_success_rule(rule: Mapping[str, Any], completions: int, path: str) -> list[FieldError]:
    count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    if count is None and indexes is None:
        return [required(path, "at least one of succeededCount or succeededIndexes must be specified")]
    errors: list[FieldError] = []
    listed = completions
    if indexes is not None:
        where = f"{path}.succeededIndexes"
        errors += [too_long(where, _LONGEST_INDEXES)] if len(indexes) > _LONGEST_INDEXES else []
        try:
            listed = count_indexes(indexes, completions)
        except ValueError as error:
            errors.append(invalid(where, indexes, f"error parsing succeededIndexes: {error}"))
    if count is None:
        return errors
    where = f"{path}.succeededCount"
    errors += negative(where, count)
    why = "must be less than or equal to {} (the number of {})"
    if count > completions:
        errors.append(invalid(where, count, why.format(completions, "specified completions")))
    if indexes is not None and count > listed:
        errors.append(invalid(where, count, why.format(listed, "indexes in the specified succeededIndexes field")))
    return errors


def validate_success_policy(policy: Mapping[str, Any], completions: int, path: str) -> list[FieldError]:
    """Faults of a success policy at ``path`` in an indexed job."""
    rules = policy.get("rules") or []
    if not rules:
        return [required(f"{path}.rules", "at least one rules must be specified when the successPolicy is specified")]
    errors = [too_many(f"{path}.rules", len(rules), _MOST_RULES)] if len(rules) > _MOST_RULES else []
    for index, rule in enumerate(rules):
        errors += _validate_success_rule(rule, completions, f"{path}.rules[{index}]")
    return errors
