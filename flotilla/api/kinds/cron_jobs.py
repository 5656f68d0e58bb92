"""CronJob: its strategy."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid, negative, required, unsupported
from flotilla.api.kinds.job_policies import default_failure_policy
from flotilla.api.kinds.jobs import name_warnings, validate_job_spec
from flotilla.api.kinds.metadata import begin_generation, carry_generation, metadata_fields, validate_metadata
from flotilla.api.kinds.pod_templates import default_template, template_warnings
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.stored_only import stored_only
from flotilla.api.objects import KubeObject
from flotilla.api.schedules import InvalidScheduleError, check_schedule

_CONCURRENCY = ("Allow", "Forbid", "Replace")
_LONGEST_NAME = 52
_ZONE_PART = re.compile(r"[A-Za-z._0-9+][A-Za-z.\-_0-9+]{0,13}", re.ASCII)
_EXPLICIT_ZONE = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
_JOB_SPEC = "spec.jobTemplate.spec"


def _default(cron_job: KubeObject) -> None:
    spec = cron_job.setdefault("spec", {})
    spec["concurrencyPolicy"] = spec.get("concurrencyPolicy") or "Allow"
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = spec.setdefault("jobTemplate", {})
    template.setdefault("metadata", {})
    job_spec = template.setdefault("spec", {})
    if job_spec.get("podFailurePolicy") is not None:
        default_failure_policy(job_spec["podFailurePolicy"])
    default_template(job_spec)


def _validate_schedule(spec: Mapping[str, Any], was: Mapping[str, Any]) -> list[FieldError]:
    schedule = spec.get("schedule")
    if not schedule:
        return [required("spec.schedule")]
    errors: list[FieldError] = []
    try:
        check_schedule(schedule)
    except InvalidScheduleError as error:
        errors.append(invalid("spec.schedule", schedule, str(error)))
    if "TZ" not in schedule:
        return errors
    if "TZ" not in was.get("schedule", ""):
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(invalid("spec.schedule", schedule, why))
    elif spec.get("timeZone") is not None:
        errors.append(
            invalid("spec.schedule", schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
        )
    return errors


def _is_known_zone(zone: str) -> bool:
    try:
        zoneinfo.ZoneInfo(zone)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return False
    return True


def _validate_time_zone(zone: str) -> list[FieldError]:
    path = "spec.timeZone"
    if not zone:
        return [invalid(path, zone, "timeZone must be nil or non-empty string")]
    parts = zone.split("/")
    if any(part in (".", "..") or not _ZONE_PART.fullmatch(part) for part in parts):
        return [invalid(path, zone, f"unknown time zone {zone}")]
    errors = [invalid(path, zone, _EXPLICIT_ZONE)] if zone.lower() == "local" else []
    return errors if _is_known_zone(zone) else [*errors, invalid(path, zone, f"unknown time zone {zone}")]


def _validate_template(spec: Mapping[str, Any]) -> list[FieldError]:
    job_spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    errors = validate_job_spec(job_spec, _JOB_SPEC)
    if job_spec.get("selector") is not None:
        errors.append(invalid(f"{_JOB_SPEC}.selector", job_spec["selector"], "`selector` will be auto-generated"))
    if job_spec.get("manualSelector"):
        errors.append(unsupported(f"{_JOB_SPEC}.manualSelector", True, ("nil", "false")))
    return errors


def _validate(cron_job: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec, was = cron_job["spec"], (old or {}).get("spec") or {}
    name = cron_job["metadata"].get("name") or ""
    errors = validate_metadata(cron_job) + _validate_schedule(spec, was)
    errors += negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    zone = spec.get("timeZone")
    if zone is not None and zone != was.get("timeZone"):
        errors += _validate_time_zone(zone)
    if spec.get("concurrencyPolicy") not in _CONCURRENCY:
        errors.append(unsupported("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), _CONCURRENCY))
    errors += _validate_template(spec)
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errors += negative(f"spec.{field}", spec.get(field))
    if old is None and len(name) > _LONGEST_NAME:
        errors.append(invalid("metadata.name", name, f"must be no more than {_LONGEST_NAME} characters"))
    return errors


def _warnings(cron_job: KubeObject) -> list[str]:
    spec = cron_job["spec"]
    warnings = [stored_only("CronJob", "its jobs will not be created"), *name_warnings(cron_job)]
    if "TZ" in (spec.get("schedule") or ""):
        warnings.append("spec.schedule: CRON_TZ or TZ used in spec.schedule is not officially supported")
    job_spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    return warnings + template_warnings(job_spec, f"{_JOB_SPEC}.template")


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=begin_generation(),
    prepare_for_update=carry_generation,
    warnings=_warnings,
    selectable_fields=metadata_fields,
    status_subresource=True,
)
