"""``batch``: work that ends, now or on a schedule."""

from __future__ import annotations

from functools import partial

from flotilla.api.kinds import batch_columns, cron_jobs, jobs
from flotilla.api.kinds.resource import Resource, guarded

_batch = partial(Resource, group="batch", version="v1", namespaced=True, categories=("all",), subresources=("status",))

CRON_JOBS = _batch(
    plural="cronjobs",
    singular="cronjob",
    kind="CronJob",
    definition="io.k8s.api.batch.v1.CronJob",
    columns=batch_columns.CRON_JOB_COLUMNS,
    strategy=guarded(cron_jobs.STRATEGY),
    short_names=("cj",),
)
JOBS = _batch(
    plural="jobs",
    singular="job",
    kind="Job",
    definition="io.k8s.api.batch.v1.Job",
    columns=batch_columns.JOB_COLUMNS,
    strategy=guarded(jobs.STRATEGY),
)

ROWS = (CRON_JOBS, JOBS)
