"""Jobs and CronJobs: defaults, faults, updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flotilla.api.errors import FieldError
from flotilla.api.kinds.job_policies import count_indexes
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource
from flotilla.api.resources import CRON_JOBS, JOBS

Sample = Callable[[Resource], KubeObject]
Edited = Callable[[KubeObject, str, Any], KubeObject]
Faults = Callable[..., list[FieldError]]
Written = Callable[..., KubeObject]
_INDEXED = {"completionMode": "Indexed", "completions": 3}


def _edit_all(edited: Edited, obj: KubeObject, changes: dict[str, Any]) -> KubeObject:
    for path, value in changes.items():
        obj = edited(obj, path, value)
    return obj


@pytest.fixture
def stored(sample: Sample) -> Callable[..., KubeObject]:
    """A sample as the server writes it: prepared, then defaulted."""

    def store(resource: Resource, obj: KubeObject | None = None) -> KubeObject:
        result = obj or sample(resource)
        resource.strategy.prepare_for_create(result)
        resource.strategy.default(result)
        return result

    return store


def test_job_defaults(stored: Callable[..., KubeObject]) -> None:
    """A minimal Job must come out complete, with labels and a selector of its own."""
    job = stored(JOBS)
    spec = job["spec"]
    template = spec.pop("template")
    assert spec == {
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "manualSelector": False,
        "podReplacementPolicy": "TerminatingOrFailed",
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}},
    }
    generated = {
        "controller-uid": "u-1",
        "batch.kubernetes.io/controller-uid": "u-1",
        "job-name": "web",
        "batch.kubernetes.io/job-name": "web",
    }
    assert template["metadata"]["labels"] == job["metadata"]["labels"] == generated
    assert job["metadata"]["generation"] == 1


def test_a_manual_selector_is_left_alone(sample: Sample, edited: Edited, stored: Callable[..., KubeObject]) -> None:
    """Whoever selects pods himself must get no labels added."""
    job = _edit_all(
        edited,
        sample(JOBS),
        {
            "spec.manualSelector": True,
            "spec.selector": {"matchLabels": {"a": "b"}},
            "spec.template.metadata": {"labels": {"a": "b"}},
        },
    )
    written = stored(JOBS, job)
    assert written["spec"]["template"]["metadata"]["labels"] == {"a": "b"}
    assert JOBS.strategy.validate(written, None) == []


def test_limits_per_index_lift_the_limit_of_the_job(sample: Sample, edited: Edited, written: Written) -> None:
    """With a limit for each index the whole job's must not matter."""
    job = edited(sample(JOBS), "spec.backoffLimitPerIndex", 1)
    assert written(JOBS, job)["spec"]["backoffLimit"] == 2**31 - 1


_RULE = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
_CODES = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 42]}}
JOB_CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"spec.parallelism": -1}, "spec.parallelism", "Invalid value: -1: must be greater than or equal to 0"),
    ({"spec.completions": -1}, "spec.completions", "Invalid value: -1: must be greater than or equal to 0"),
    ({"spec.ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished", "must be greater than or equal to 0"),
    (
        {"spec.template.spec.restartPolicy": "Always"},
        "spec.template.spec.restartPolicy",
        'Required value: valid values: "OnFailure", "Never"',
    ),
    (
        {"spec.template.spec.restartPolicy": "OnFailure", "spec.podFailurePolicy": {"rules": [_RULE]}},
        "spec.template.spec.restartPolicy",
        'Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified',
    ),
    ({"spec.completionMode": "Some"}, "spec.completionMode", 'supported values: "NonIndexed", "Indexed"'),
    ({"spec.backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex", "requires indexed completion mode"),
    (
        {"spec.completionMode": "Indexed", "spec.parallelism": 1},
        "spec.completions",
        "Required value: when completion mode is Indexed",
    ),
    (
        {"spec.completionMode": "Indexed", "spec.completions": 3, "spec.parallelism": 100001},
        "spec.parallelism",
        "must be less than or equal to 100000 when completion mode is Indexed",
    ),
    (
        {**{f"spec.{key}": value for key, value in _INDEXED.items()}, "spec.maxFailedIndexes": 1},
        "spec.backoffLimitPerIndex",
        "Required value: when maxFailedIndexes is specified",
    ),
    ({"spec.managedBy": "me"}, "spec.managedBy", 'must be a domain-prefixed path (such as "acme.io/foo")'),
    (
        {"spec.podFailurePolicy": {"rules": [{**_RULE, "action": "Panic"}]}},
        "spec.podFailurePolicy.rules[0].action",
        'Unsupported value: "Panic": supported values: "Count", "FailIndex", "FailJob", "Ignore"',
    ),
    (
        {"spec.podFailurePolicy": {"rules": [{"action": "Ignore"}]}},
        "spec.podFailurePolicy.rules[0]",
        "Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
    ),
    (
        {"spec.podFailurePolicy": {"rules": [{**_RULE, **_CODES}]}},
        "spec.podFailurePolicy.rules[0]",
        "Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
    ),
    (
        {
            "spec.podFailurePolicy": {
                "rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2, 1]}}]
            }
        },
        "spec.podFailurePolicy.rules[0].onExitCodes.values",
        "Invalid value: [2,1]: must be ordered",
    ),
    (
        {"spec.podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [0]}}]}},
        "spec.podFailurePolicy.rules[0].onExitCodes.values[0]",
        "must not be 0 for the In operator",
    ),
    (
        {"spec.podFailurePolicy": {"rules": [_RULE]}, "spec.podReplacementPolicy": "TerminatingOrFailed"},
        "spec.podReplacementPolicy",
        'supported values: "Failed"',
    ),
    ({"spec.successPolicy": {"rules": []}}, "spec.successPolicy", "requires indexed completion mode"),
    (
        {
            **{f"spec.{key}": value for key, value in _INDEXED.items()},
            "spec.successPolicy": {"rules": [{"succeededIndexes": "0,3"}]},
        },
        "spec.successPolicy.rules[0].succeededIndexes",
        'error parsing succeededIndexes: too large index: "3"',
    ),
    (
        {
            **{f"spec.{key}": value for key, value in _INDEXED.items()},
            "spec.successPolicy": {"rules": [{"succeededCount": 4}]},
        },
        "spec.successPolicy.rules[0].succeededCount",
        "must be less than or equal to 3 (the number of specified completions)",
    ),
    (
        {"spec.selector": {"matchLabels": {"a": "b"}}, "spec.template.metadata": {"labels": {"a": "b"}}},
        "spec.selector",
        "`selector` not auto-generated",
    ),
    ({"spec.template.spec.containers": []}, "spec.template.spec.containers", "Required value"),
]


@pytest.mark.parametrize(("changes", "field", "message"), JOB_CASES)
def test_job_faults(
    sample: Sample,
    edited: Edited,
    stored: Callable[..., KubeObject],
    changes: dict[str, Any],
    field: str,
    message: str,
) -> None:
    """One wrong value must give one fault, at its path."""
    job = stored(JOBS, _edit_all(edited, sample(JOBS), changes))
    (error,) = JOBS.strategy.validate(job, None)
    assert error.field == field
    assert message in error.message


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec.completions", 2, "spec.completions"),
        ("spec.template.spec.containers.0.image", "work:2", "spec.template"),
        ("spec.selector.matchLabels", {"job-name": "web"}, "spec.selector"),
        ("spec.completionMode", "Indexed", "spec.completionMode"),
        ("spec.managedBy", "example.com/me", "spec.managedBy"),
        ("spec.template.spec.nodeSelector", {"a": "b"}, "spec.template"),
    ],
)
def test_what_a_running_job_keeps(
    edited: Edited, stored: Callable[..., KubeObject], path: str, value: Any, field: str
) -> None:
    """An update must not change what its pods were made from."""
    old = stored(JOBS)
    new = edited(old, path, value)
    (error,) = JOBS.strategy.validate(new, old)
    assert (error.field, error.message.endswith("field is immutable")) == (field, True)


def test_a_job_that_never_ran_may_be_placed_elsewhere(
    sample: Sample, edited: Edited, stored: Callable[..., KubeObject]
) -> None:
    """Scheduling fields of a suspended job must be changeable until it starts, and not after."""
    old = stored(JOBS, edited(sample(JOBS), "spec.suspend", True))
    new = edited(old, "spec.template.spec.nodeSelector", {"a": "b"})
    assert JOBS.strategy.validate(new, old) == []
    started = edited(old, "status", {"startTime": "2026-01-01T00:00:00Z"})
    assert [error.field for error in JOBS.strategy.validate(new, started)] == ["spec.template"]


def test_a_parallelism_may_change(edited: Edited, stored: Callable[..., KubeObject]) -> None:
    """The number of pods at a time must be free to change, and count as a new generation."""
    old = stored(JOBS)
    new = edited(old, "spec.parallelism", 4)
    JOBS.strategy.prepare_for_update(new, old)
    assert JOBS.strategy.validate(new, old) == []
    assert new["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("text", "completions", "count"), [("", 3, 0), ("0", 3, 1), ("0-2", 3, 3), ("1,3-5,7", 8, 5), ("0,1,2", 3, 3)]
)
def test_indexes_are_counted(text: str, completions: int, count: int) -> None:
    """Single indexes and intervals must be counted together."""
    assert count_indexes(text, completions) == count


@pytest.mark.parametrize("text", ["a", "1-", "2,1", "1,1", "2-1", "1-2-3", "0-9", ",", "-1", "1 "])
def test_bad_indexes_are_refused(text: str) -> None:
    """What is no rising list of indexes in range must be refused."""
    with pytest.raises(ValueError, match=r"index|interval|integer|non-increasing"):
        count_indexes(text, 5)


def test_cron_job_defaults(sample: Sample, written: Written) -> None:
    """A minimal CronJob must come out complete, its job's template without a job's defaults."""
    spec = written(CRON_JOBS, sample(CRON_JOBS))["spec"]
    job_spec = spec.pop("jobTemplate")["spec"]
    assert spec == {
        "schedule": "*/5 * * * *",
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    }
    assert job_spec.keys() == {"template"}
    assert job_spec["template"]["spec"]["dnsPolicy"] == "ClusterFirst"


CRON_CASES: list[tuple[str, Any, str, str]] = [
    ("spec.schedule", "", "spec.schedule", "Required value"),
    ("spec.schedule", "* * * *", "spec.schedule", "expected exactly 5 fields, found 4: [* * * *]"),
    ("spec.schedule", "* * * * * *", "spec.schedule", "expected exactly 5 fields, found 6"),
    ("spec.schedule", "61 * * * *", "spec.schedule", "Bad minute"),
    ("spec.schedule", "0 0 L * *", "spec.schedule", "failed to parse int from L"),
    ("spec.schedule", "0 0 * * 7", "spec.schedule", "end of range (7) above maximum (6): 7"),
    ("spec.schedule", "@often", "spec.schedule", "unrecognized descriptor: @often"),
    ("spec.schedule", "@every nothing", "spec.schedule", 'time: invalid duration "nothing"'),
    (
        "spec.schedule",
        "TZ=UTC 0 0 * * *",
        "spec.schedule",
        "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
    ),
    ("spec.timeZone", "", "spec.timeZone", "timeZone must be nil or non-empty string"),
    ("spec.timeZone", "Mars/Olympus", "spec.timeZone", "unknown time zone Mars/Olympus"),
    ("spec.timeZone", "../etc/passwd", "spec.timeZone", "unknown time zone ../etc/passwd"),
    ("spec.concurrencyPolicy", "Maybe", "spec.concurrencyPolicy", 'supported values: "Allow", "Forbid", "Replace"'),
    ("spec.startingDeadlineSeconds", -1, "spec.startingDeadlineSeconds", "must be greater than or equal to 0"),
    ("spec.successfulJobsHistoryLimit", -1, "spec.successfulJobsHistoryLimit", "must be greater than or equal to 0"),
    ("metadata.name", "w" * 53, "metadata.name", "must be no more than 52 characters"),
    (
        "spec.jobTemplate.spec.selector",
        {"matchLabels": {"a": "b"}},
        "spec.jobTemplate.spec.selector",
        "`selector` will be auto-generated",
    ),
    (
        "spec.jobTemplate.spec.manualSelector",
        True,
        "spec.jobTemplate.spec.manualSelector",
        'Unsupported value: true: supported values: "nil", "false"',
    ),
    (
        "spec.jobTemplate.spec.template.spec.restartPolicy",
        None,
        "spec.jobTemplate.spec.template.spec.restartPolicy",
        'Required value: valid values: "OnFailure", "Never"',
    ),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), CRON_CASES)
def test_cron_job_faults(
    sample: Sample, edited: Edited, faults: Faults, path: str, value: Any, field: str, message: str
) -> None:
    """One wrong value must give one fault, at its path."""
    (error,) = faults(CRON_JOBS, edited(sample(CRON_JOBS), path, value))
    assert error.field == field
    assert message in error.message


@pytest.mark.parametrize(
    "schedule",
    ["* * * * *", "@hourly", "@midnight", "@every 1h30m", "0 0 ? * MON-FRI", "*/15 0-6,18 1,15 JAN *", "0 0 * * sun"],
)
def test_good_schedules(sample: Sample, edited: Edited, faults: Faults, schedule: str) -> None:
    """What Kubernetes takes for a schedule must be taken."""
    assert faults(CRON_JOBS, edited(sample(CRON_JOBS), "spec.schedule", schedule)) == []


@pytest.mark.parametrize("zone", ["Etc/UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_good_time_zones(sample: Sample, edited: Edited, faults: Faults, zone: str) -> None:
    """Zones of the IANA database must be taken."""
    assert faults(CRON_JOBS, edited(sample(CRON_JOBS), "spec.timeZone", zone)) == []


def test_old_schedules_with_a_zone_survive_updates(sample: Sample, edited: Edited, faults: Faults) -> None:
    """A schedule that has a zone already may keep it, but not beside the field for zones."""
    old = edited(sample(CRON_JOBS), "spec.schedule", "CRON_TZ=UTC 0 0 * * *")
    assert faults(CRON_JOBS, edited(old, "spec.suspend", True), old) == []
    (error,) = faults(CRON_JOBS, edited(old, "spec.timeZone", "Etc/UTC"), old)
    assert "cannot use both timeZone field and TZ or CRON_TZ in schedule" in error.message


@pytest.mark.parametrize("resource", [JOBS, CRON_JOBS], ids=repr)
def test_warnings_say_that_nothing_happens(sample: Sample, resource: Resource) -> None:
    """Whoever stores a kind that nobody acts upon must be told."""
    (warning,) = resource.strategy.warnings(sample(resource))
    assert "no controller acts on it yet" in warning
