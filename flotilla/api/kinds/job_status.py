"""Validation of the status of a Job: what its conditions say must fit its counts, its times and each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.conditions import is_true
from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import IMMUTABLE, invalid, invalid_whole, negative, required
from flotilla.api.kinds.job_policies import count_indexes
from flotilla.api.objects import KubeObject, parse_time

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_CONDITIONS = "status.conditions"
_CONTRADICTIONS = (
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
    ("SuccessCriteriaMet", "FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
)
_PREREQUISITES = (
    ("Failed", "FailureTarget", "cannot set Failed=True condition without the FailureTarget=true condition"),
    (
        "Complete",
        "SuccessCriteriaMet",
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    ),
)
_TERMINAL = ("Failed", "Complete", "FailureTarget")


def _validate_conditions(job: KubeObject) -> list[FieldError]:
    errors = [
        invalid_whole(_CONDITIONS, why)
        for one, other, why in _CONTRADICTIONS
        if is_true(job, one) and is_true(job, other)
    ]
    return errors + [
        invalid_whole(_CONDITIONS, why)
        for one, needed, why in _PREREQUISITES
        if is_true(job, one) and not is_true(job, needed)
    ]


def _validate_times(job: KubeObject, status: Mapping[str, Any]) -> list[FieldError]:
    start, end = status.get("startTime"), status.get("completionTime")
    complete = is_true(job, "Complete")
    errors: list[FieldError] = []
    if end and not complete:
        why = "cannot set completionTime when there is no Complete=True condition"
        errors.append(invalid("status.completionTime", end, why))
    if complete and not end:
        errors.append(required("status.completionTime", "completionTime is required for Complete jobs"))
    if start and end and parse_time(end) < parse_time(start):
        errors.append(invalid("status.completionTime", end, "must be equal to or after `startTime`"))
    if not start and (complete or is_true(job, "Failed")):
        errors.append(required("status.startTime", "startTime is required for finished job"))
    return errors


def _validate_counts(job: KubeObject, status: Mapping[str, Any]) -> list[FieldError]:
    errors = [error for field in _COUNTS for error in negative(f"status.{field}", status.get(field))]
    if is_true(job, "Complete") or is_true(job, "Failed"):
        errors += [
            invalid(f"status.{field}", status[field], f"{field}>0 is invalid for finished job")
            for field in ("active", "terminating")
            if (status.get(field) or 0) > 0
        ]
        if any((status.get("uncountedTerminatedPods") or {}).values()):
            why = "must be empty for finished job"
            errors.append(invalid("status.uncountedTerminatedPods", status["uncountedTerminatedPods"], why))
    if (status.get("ready") or 0) > (status.get("active") or 0):
        errors.append(invalid("status.ready", status["ready"], "cannot set more ready pods than active"))
    return errors


def _validate_indexes(spec: Mapping[str, Any], status: Mapping[str, Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    completed, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    if completed and spec.get("completionMode") != "Indexed":
        why = "cannot set non-empty completedIndexes when non-indexed completion mode"
        return [invalid("status.completedIndexes", completed, why)]
    if failed is not None and spec.get("backoffLimitPerIndex") is None:
        why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        return [invalid("status.failedIndexes", failed, why)]
    for field, text in (("completedIndexes", completed), ("failedIndexes", failed or "")):
        try:
            count_indexes(text, spec.get("completions") or 0)
        except ValueError as error:
            errors.append(invalid(f"status.{field}", text, f"error parsing {field}: {error}"))
    return errors


def _validate_change(job: KubeObject, old: KubeObject) -> list[FieldError]:
    status, was = job.get("status") or {}, old.get("status") or {}
    errors = [
        invalid_whole(_CONDITIONS, f"cannot disable the terminal {condition}=True condition")
        for condition in _TERMINAL
        if is_true(old, condition) and not is_true(job, condition)
    ]
    if is_true(old, "SuccessCriteriaMet") and not is_true(job, "SuccessCriteriaMet"):
        errors.append(invalid_whole(_CONDITIONS, "cannot disable the SuccessCriteriaMet=True condition"))
    errors += [
        invalid(f"status.{field}", status.get(field) or 0, f"cannot decrease the {field} counter")
        for field in ("failed", "succeeded")
        if (status.get(field) or 0) < (was.get(field) or 0)
    ]
    end, start = status.get("completionTime"), was.get("startTime")
    if end and was.get("completionTime") and end != was["completionTime"]:
        errors.append(invalid("status.completionTime", end, IMMUTABLE))
    if start and status.get("startTime") != start and not job["spec"].get("suspend"):
        errors.append(required("status.startTime", "startTime cannot be removed for unsuspended job"))
    return errors


def validate_job_status(subresource: str, job: KubeObject, old: KubeObject) -> list[FieldError]:
    """Faults of a status that a job controller writes."""
    if subresource != "status":
        return []
    status = job.get("status") or {}
    errors = _validate_counts(job, status) + _validate_conditions(job) + _validate_times(job, status)
    return errors + _validate_indexes(job.get("spec") or {}, status) + _validate_change(job, old)
