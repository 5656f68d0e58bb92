"""Pod templates: the part that all workloads share.

A template's labels and annotations are checked under ``<template>.labels`` and ``.annotations``, without ``metadata``
in the path, because that is where Kubernetes reports them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import IMMUTABLE, forbidden, invalid, required, unsupported
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import validate_annotations, validate_labels
from flotilla.api.kinds.pod_defaults import default_pod_spec
from flotilla.api.kinds.pod_spec import validate_pod_spec
from flotilla.api.kinds.pod_warnings import pod_spec_warnings
from flotilla.api.objects import KubeObject
from flotilla.api.selectors import label_selector_of


def default_template(holder: KubeObject) -> None:
    """Fill the ``template`` of a workload's spec, if it has one."""
    template = holder.get("template")
    if template is not None:
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}))


def template_labels(template: Mapping[str, Any] | None) -> dict[str, str]:
    """The labels that the pods of a template get."""
    return ((template or {}).get("metadata") or {}).get("labels") or {}


def validate_template_metadata(template: Mapping[str, Any], path: str) -> list[FieldError]:
    """Faults of a template's labels and annotations."""
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return validate_labels(template_labels(template), f"{path}.labels") + validate_annotations(
        annotations, f"{path}.annotations"
    )


def validate_template(template: Mapping[str, Any] | None, path: str) -> list[FieldError]:
    """Faults of a template at ``path`` whose pods may end."""
    if template is None:
        return [required(path)]
    errors = validate_template_metadata(template, path)
    return errors + validate_pod_spec(template.get("spec") or {}, f"{path}.spec")


def validate_endless(template: Mapping[str, Any], path: str, *, kind: str) -> list[FieldError]:
    """Faults of a template at ``path`` for a ``kind`` whose pods run for ever."""
    spec = template.get("spec") or {}
    errors: list[FieldError] = []
    if spec.get("restartPolicy", "Always") != "Always":
        errors.append(unsupported(f"{path}.spec.restartPolicy", spec["restartPolicy"], ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(forbidden(f"{path}.spec.activeDeadlineSeconds", why))
    return errors


def validate_endless_template(template: Mapping[str, Any] | None, *, kind: str) -> list[FieldError]:
    """Faults of ``spec.template`` in a workload of that kind whose pods run for ever."""
    if template is None:
        return [required("spec.template")]
    return validate_template(template, "spec.template") + validate_endless(template, "spec.template", kind=kind)


def validate_selected(selector: Mapping[str, Any], template: Mapping[str, Any] | None) -> list[FieldError]:
    """A fault if a valid selector doesn't match the pods of the template."""
    labels = template_labels(template)
    if template is None or label_selector_of(selector).matches(labels):
        return []
    return [invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")]


def validate_workload_selector(spec: Mapping[str, Any], kind: str) -> list[FieldError]:
    """Faults of ``spec.selector``, alone and against the template's labels."""
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [invalid("spec.selector", selector, f"empty selector is invalid for {kind}")]
    return validate_label_selector(selector, "spec.selector") or validate_selected(selector, spec.get("template"))


def validate_selector_update(obj: KubeObject, old: KubeObject) -> list[FieldError]:
    """A workload's selector says which pods are its own, for ever."""
    selector = obj["spec"].get("selector")
    return [] if selector == old["spec"].get("selector") else [invalid("spec.selector", selector, IMMUTABLE)]


def template_warnings(holder: Mapping[str, Any], path: str) -> list[str]:
    """The warnings of the pods that ``holder["template"]`` at ``path`` will make."""
    return pod_spec_warnings((holder.get("template") or {}).get("spec") or {}, f"{path}.spec")
