"""Job: its strategy, and the rules of a job's spec that CronJobs share.

A job finds its pods by labels with its own uid, which are added to its template when it is created; only
``manualSelector`` leaves that to the author.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import (
    IMMUTABLE,
    each_invalid,
    invalid,
    negative,
    required,
    too_long,
    unsupported,
)
from flotilla.api.kinds.job_policies import default_failure_policy, validate_failure_policy, validate_success_policy
from flotilla.api.kinds.job_status import validate_job_status
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import begin_generation, carry_generation, metadata_fields, validate_metadata
from flotilla.api.kinds.pod_templates import (
    default_template,
    template_labels,
    template_warnings,
    validate_selected,
    validate_template,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.stored_only import stored_only
from flotilla.api.names import dns_label_faults, domain_path_faults
from flotilla.api.objects import KubeObject
from flotilla.api.selectors import label_selector_of

_UID_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")
_NAME_LABELS = ("job-name", "batch.kubernetes.io/job-name")
_SELECTOR_LABEL = "batch.kubernetes.io/controller-uid"
_MODES = ("NonIndexed", "Indexed")
_REPLACEMENTS = ("Failed", "TerminatingOrFailed")
_RESTARTS = ("OnFailure", "Never")
_NOT_NEGATIVE = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_IMMUTABLE = (
    "selector",
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
)
_LONGEST_MANAGER = 63
_MOST_PARALLEL_INDEXED = 100_000
_MOST_FAILED_INDEXES = 100_000
_MANY_COMPLETIONS = 100_000
_MOST_OF_MANY = 10_000
_UNLIMITED = 2**31 - 1
_SCHEDULING_FIELDS = ("nodeSelector", "tolerations", "schedulingGates")


def _default(job: KubeObject) -> None:
    spec = job.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else _UNLIMITED)
    labels = template_labels(spec.get("template"))
    if labels and not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(labels)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    policy = spec.get("podFailurePolicy")
    if policy is not None:
        default_failure_policy(policy)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed" if policy is None else "Failed")
    default_template(spec)


def _validate_managed_by(manager: str | None, path: str) -> list[FieldError]:
    if manager is None:
        return []
    errors = each_invalid(path, manager, domain_path_faults(manager)) if manager else [required(path)]
    return [*errors, too_long(path, _LONGEST_MANAGER)] if len(manager) > _LONGEST_MANAGER else errors


def _validate_many(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """The bounds of a job of more than 100,000 indexes that each may fail."""
    if (spec.get("completions") or 0) <= _MANY_COMPLETIONS or spec.get("backoffLimitPerIndex") is None:
        return []
    why = f"must be less than or equal to {_MOST_OF_MANY} when completions are above {_MANY_COMPLETIONS}"
    why += " and used with backoff limit per index"
    errors: list[FieldError] = []
    if spec.get("maxFailedIndexes") is None:
        when = f"must be specified when completions is above {_MANY_COMPLETIONS}"
        errors.append(required(f"{path}.maxFailedIndexes", when))
    return errors + [
        invalid(f"{path}.{field}", spec[field], why)
        for field in ("parallelism", "maxFailedIndexes")
        if (spec.get(field) or 0) > _MOST_OF_MANY
    ]


def _validate_indexed(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed, errors = spec.get("maxFailedIndexes"), list[FieldError]()
    if completions is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism is not None and parallelism > _MOST_PARALLEL_INDEXED:
        why = f"must be less than or equal to {_MOST_PARALLEL_INDEXED} when completion mode is Indexed"
        errors.append(invalid(f"{path}.parallelism", parallelism, why))
    if failed is not None and completions is not None and failed > completions:
        errors.append(invalid(f"{path}.maxFailedIndexes", failed, "must be less than or equal to completions"))
    if failed is not None and failed > _MOST_FAILED_INDEXES:
        why = f"must be less than or equal to {_MOST_FAILED_INDEXES}"
        errors.append(invalid(f"{path}.maxFailedIndexes", failed, why))
    return errors + _validate_many(spec, path)


def _validate_completion(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    mode = spec.get("completionMode") or "NonIndexed"
    if mode == "Indexed":
        return _validate_indexed(spec, path)
    errors = [] if mode in _MODES else [unsupported(f"{path}.completionMode", mode, _MODES)]
    return errors + [
        invalid(f"{path}.{field}", spec[field], "requires indexed completion mode")
        for field in ("backoffLimitPerIndex", "maxFailedIndexes")
        if spec.get(field) is not None
    ]


def _validate_policies(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    failure, success, replacement = (spec.get(f) for f in ("podFailurePolicy", "successPolicy", "podReplacementPolicy"))
    errors: list[FieldError] = []
    if failure is not None:
        errors += validate_failure_policy(failure, spec, f"{path}.podFailurePolicy")
    if success is not None and spec.get("completionMode") != "Indexed":
        errors.append(invalid(f"{path}.successPolicy", success, "requires indexed completion mode"))
    elif success is not None:
        errors += validate_success_policy(success, spec.get("completions") or 0, f"{path}.successPolicy")
    supported = ("Failed",) if failure is not None else _REPLACEMENTS
    if replacement is not None and replacement not in supported:
        errors.append(unsupported(f"{path}.podReplacementPolicy", replacement, supported))
    return errors


def _validate_restart_policy(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    where = f"{path}.template.spec.restartPolicy"
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") or "Always"
    if policy == "Always":
        return [required(where, 'valid values: "OnFailure", "Never"')]
    if policy not in _RESTARTS:
        return [unsupported(where, policy, _RESTARTS)]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        return [invalid(where, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


def validate_job_spec(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of the spec of a job at ``path``, its selector left out."""
    errors = [error for field in _NOT_NEGATIVE for error in negative(f"{path}.{field}", spec.get(field))]
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    errors += _validate_managed_by(spec.get("managedBy"), f"{path}.managedBy")
    errors += _validate_completion(spec, path) + _validate_policies(spec, path)
    return errors + validate_template(spec.get("template"), f"{path}.template") + _validate_restart_policy(spec, path)


def _generated_labels(job: Mapping[str, Any]) -> dict[str, str]:
    metadata = job["metadata"]
    labels = {label: metadata.get("uid") or "" for label in _UID_LABELS}
    return labels | {label: metadata.get("name") or "" for label in _NAME_LABELS}


def _validate_generated(job: Mapping[str, Any], labels: Mapping[str, str]) -> list[FieldError]:
    """Whether the labels and the selector are the ones that creation has made."""
    errors = [] if job["metadata"].get("uid") else [required("metadata.uid")]
    generated = _generated_labels(job)
    for label, value in generated.items():
        path = f"spec.template.metadata.labels[{label}]"
        if label not in labels:
            errors.append(required(path, f"must be '{value}'"))
        elif labels[label] != value:
            errors.append(invalid(path, labels, f"must be '{value}'"))
    selector = job["spec"]["selector"]
    if not label_selector_of(selector).matches(generated):
        errors.append(invalid("spec.selector", selector, "`selector` not auto-generated"))
    return errors


def _validate_selector(job: KubeObject) -> list[FieldError]:
    spec = job["spec"]
    selector, template = spec.get("selector"), spec.get("template")
    if selector is None:
        return [required("spec.selector")]
    errors = validate_label_selector(selector, "spec.selector")
    if errors:
        return errors
    if not spec.get("manualSelector"):
        errors += _validate_generated(job, template_labels(template))
    return errors + validate_selected(selector, template)


def _validate_index_names(job: KubeObject) -> list[FieldError]:
    """The pods of an indexed job carry the job's name and their index in their host names."""
    spec, name = job["spec"], job["metadata"].get("name") or ""
    if spec.get("completionMode") != "Indexed" or (spec.get("completions") or 0) <= 0:
        return []
    host_name = f"{name}-{spec['completions'] - 1}"
    if not dns_label_faults(host_name):
        return []
    return [invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {host_name}")]


def _with_schedule_of(was: Mapping[str, Any] | None, template: Mapping[str, Any] | None) -> KubeObject:
    """The old template with the fields taken over that a job which has never run may change in its new one."""
    merged: KubeObject = copy.deepcopy(dict(was or {}))
    new = template or {}
    spec, new_spec = merged.setdefault("spec", {}), new.get("spec") or {}
    for field in _SCHEDULING_FIELDS:
        spec[field] = new_spec.get(field)
    affinity = {**(spec.get("affinity") or {}), "nodeAffinity": (new_spec.get("affinity") or {}).get("nodeAffinity")}
    spec["affinity"] = affinity if any(affinity.values()) else None
    metadata = dict(merged.get("metadata") or {})
    for field in ("labels", "annotations"):
        metadata[field] = (new.get("metadata") or {}).get(field)
    merged["metadata"] = metadata
    return _without_nothing(merged)


def _without_nothing(template: Mapping[str, Any]) -> KubeObject:
    """A template whose absent and empty fields are alike."""
    return {
        part: {key: value for key, value in (template.get(part) or {}).items() if value not in (None, {}, [])}
        for part in ("metadata", "spec")
    }


def _validate_template_update(spec: Mapping[str, Any], old: KubeObject) -> list[FieldError]:
    template, was = spec.get("template"), (old.get("spec") or {}).get("template")
    never_ran = (old.get("spec") or {}).get("suspend") and not (old.get("status") or {}).get("startTime")
    before = _with_schedule_of(was, template) if never_ran else _without_nothing(was or {})
    return [] if _without_nothing(template or {}) == before else [invalid("spec.template", template, IMMUTABLE)]


def _validate_update(spec: Mapping[str, Any], old: KubeObject) -> list[FieldError]:
    was = old.get("spec") or {}
    errors: list[FieldError] = []
    if spec.get("completions") != was.get("completions"):
        if spec.get("completionMode") != "Indexed":
            errors.append(invalid("spec.completions", spec.get("completions"), IMMUTABLE))
        elif spec.get("completions") is not None and spec["completions"] != spec.get("parallelism"):
            why = "can only be modified in tandem with spec.parallelism"
            errors.append(invalid("spec.completions", spec["completions"], why))
    changed = [field for field in _IMMUTABLE if spec.get(field) != was.get(field)]
    errors += [invalid(f"spec.{field}", spec.get(field), IMMUTABLE) for field in changed]
    return errors + _validate_template_update(spec, old)


def _validate(job: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(job) + _validate_selector(job) + validate_job_spec(job["spec"], "spec")
    errors += _validate_index_names(job)
    return errors if old is None else errors + _validate_update(job["spec"], old)


_begin = begin_generation()


def _prepare_for_create(job: KubeObject) -> None:
    _begin(job)
    spec = job.setdefault("spec", {})
    if spec.get("manualSelector") or not job["metadata"].get("uid"):
        return
    generated = _generated_labels(job)
    if spec.get("selector") is None:
        spec["selector"] = {}
    labels = spec["selector"].setdefault("matchLabels", {})
    labels.setdefault(_SELECTOR_LABEL, generated[_SELECTOR_LABEL])
    metadata = spec.setdefault("template", {}).setdefault("metadata", {})
    metadata["labels"] = {**generated, **(metadata.get("labels") or {})}


def _without_chosen(job: KubeObject) -> KubeObject:
    """The job without the selector and labels that were added to it."""
    spec = job["spec"]
    if spec.get("manualSelector"):
        return job
    generated = _generated_labels(job)
    metadata = spec["template"]["metadata"]
    labels = {key: value for key, value in metadata["labels"].items() if generated.get(key) != value}
    bare = {name: part for name, part in metadata.items() if name != "labels"} | ({"labels": labels} if labels else {})
    spec = {name: part for name, part in spec.items() if name != "selector"}
    return job | {"spec": spec | {"template": spec["template"] | {"metadata": bare}}}


def name_warnings(obj: Mapping[str, Any]) -> list[str]:
    """The warning for a name that is longer or freer than the host names made from it may be."""
    faults = dns_label_faults(obj["metadata"].get("name") or "")
    why = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended"
    return [f"metadata.name: {why}: [{' '.join(faults)}]"] if faults else []


def _warnings(job: KubeObject) -> list[str]:
    warning = stored_only("Job", "its pods will not be created")
    return [warning, *name_warnings(job), *template_warnings(job["spec"], "spec.template")]


def _selectable_fields(job: Mapping[str, Any]) -> dict[str, str]:
    succeeded = (job.get("status") or {}).get("succeeded", 0)
    return metadata_fields(job) | {"status.successful": str(succeeded)}


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=_prepare_for_create,
    without_chosen=_without_chosen,
    prepare_for_update=carry_generation,
    warnings=_warnings,
    selectable_fields=_selectable_fields,
    status_subresource=True,
    validate_subresource=validate_job_status,
)
