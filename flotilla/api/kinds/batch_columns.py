"""Job and CronJob: their table columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flotilla.api.conditions import is_true
from flotilla.api.durations import human_duration, time_since
from flotilla.api.kinds.columns import (
    AGE,
    NAME,
    NONE,
    WORKLOAD_DETAILS,
    column,
    count_of,
    selector_text,
    spec_of,
    status_of,
    template_columns,
)
from flotilla.api.objects import KubeObject, parse_time


def _status(job: KubeObject, now: datetime) -> str:
    """One word for the conditions; what is final wins."""
    for condition in ("Complete", "Failed"):
        if is_true(job, condition):
            return condition
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for condition in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if is_true(job, condition):
            return condition
    return "Running"


def _completions(job: KubeObject, now: datetime) -> str:
    succeeded = status_of(job).get("succeeded", 0)
    if spec_of(job).get("completions") is not None:
        return f"{succeeded}/{spec_of(job)['completions']}"
    parallelism = spec_of(job).get("parallelism", 0)
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(job: KubeObject, now: datetime) -> str:
    start, end = status_of(job).get("startTime"), status_of(job).get("completionTime")
    if not start:
        return ""
    return human_duration(((parse_time(end) if end else now) - parse_time(start)).total_seconds())


def _last_schedule(cron_job: KubeObject, now: datetime) -> str:
    last = status_of(cron_job).get("lastScheduleTime")
    return time_since(last, now) if last else NONE


def _job_spec(cron_job: KubeObject) -> dict[str, Any]:
    return spec_of(spec_of(cron_job).get("jobTemplate") or {})


JOB_COLUMNS = (
    NAME,
    column("Status", _status, description="The state of the job."),
    column("Completions", _completions, description="How many of its pods have succeeded, of how many."),
    column("Duration", _duration, description="How long it has been running, or ran."),
    AGE,
    *WORKLOAD_DETAILS,
)
CRON_JOB_COLUMNS = (
    NAME,
    column("Schedule", lambda obj, now: spec_of(obj).get("schedule", ""), description="When its jobs start."),
    column("Timezone", lambda obj, now: spec_of(obj).get("timeZone") or NONE, description="The zone of the schedule."),
    column(
        "Suspend",
        lambda obj, now: "True" if spec_of(obj).get("suspend") else "False",
        description="Whether no further jobs start.",
        type_="boolean",
    ),
    column(
        "Active",
        lambda obj, now: count_of("active")(status_of(obj), now),
        description="Number of jobs that run.",
        type_="integer",
    ),
    column("Last Schedule", _last_schedule, description="When the last job was started."),
    AGE,
    *template_columns(_job_spec),
    column(
        "Selector",
        lambda obj, now: selector_text(_job_spec(obj).get("selector")),
        description="Label selector for the pods of its jobs.",
        wide=True,
    ),
)
