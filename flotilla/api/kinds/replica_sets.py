"""ReplicaSet: its strategy, and the rules of pod templates that Deployments share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import IMMUTABLE, forbidden, invalid, negative, required, unsupported
from flotilla.api.kinds.label_selectors import validate_label_selector
from flotilla.api.kinds.metadata import (
    begin_generation,
    carry_generation,
    metadata_fields,
    validate_annotations,
    validate_labels,
    validate_metadata,
)
from flotilla.api.kinds.pod_defaults import default_pod_spec
from flotilla.api.kinds.pod_spec import validate_pod_spec
from flotilla.api.kinds.pod_warnings import pod_spec_warnings
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject
from flotilla.api.selectors import label_selector_of


def default_template(spec: KubeObject) -> None:
    """Fill the pod template of a workload's spec."""
    template = spec.get("template")
    if template is not None:
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}))


def _validate_template_metadata(metadata: Mapping[str, Any], path: str) -> list[FieldError]:
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return validate_labels(labels, f"{path}.labels") + validate_annotations(annotations, f"{path}.annotations")


def validate_template(template: Mapping[str, Any], kind: str) -> list[FieldError]:
    """Faults of ``spec.template`` in a workload of that kind whose pods run forever."""
    path = "spec.template"
    spec = template.get("spec") or {}
    errors = _validate_template_metadata(template.get("metadata") or {}, f"{path}.metadata")
    errors += validate_pod_spec(spec, f"{path}.spec")
    if spec.get("restartPolicy", "Always") != "Always":
        errors.append(unsupported(f"{path}.spec.restartPolicy", spec["restartPolicy"], ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(forbidden(f"{path}.spec.activeDeadlineSeconds", why))
    return errors


def validate_workload_selector(spec: Mapping[str, Any], kind: str) -> list[FieldError]:
    """Faults of ``spec.selector``, alone and against the template's labels."""
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [invalid("spec.selector", selector, f"empty selector is invalid for {kind}")]
    errors = validate_label_selector(selector, "spec.selector")
    template = spec.get("template")
    if errors or template is None:
        return errors
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not label_selector_of(selector).matches(labels):
        errors.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    return errors


def validate_selector_update(obj: KubeObject, old: KubeObject) -> list[FieldError]:
    """A workload's selector says which pods are its own, for ever."""
    selector = obj["spec"].get("selector")
    return [] if selector == old["spec"].get("selector") else [invalid("spec.selector", selector, IMMUTABLE)]


def _default(replica_set: KubeObject) -> None:
    spec = replica_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    default_template(spec)


def _validate(replica_set: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = replica_set["spec"]
    errors = validate_metadata(replica_set)
    errors += negative("spec.replicas", spec.get("replicas"))
    errors += negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    errors += validate_workload_selector(spec, "replicaset")
    if spec.get("template") is None:
        errors.append(required("spec.template"))
    else:
        errors += validate_template(spec["template"], "ReplicaSet")
    return errors if old is None else errors + validate_selector_update(replica_set, old)


def template_warnings(obj: KubeObject) -> list[str]:
    """The warnings of the pods that a workload will make."""
    return pod_spec_warnings((obj["spec"].get("template") or {}).get("spec") or {}, "spec.template.spec")


def _selectable_fields(replica_set: Mapping[str, Any]) -> dict[str, str]:
    replicas = (replica_set.get("status") or {}).get("replicas", 0)
    return metadata_fields(replica_set) | {"status.replicas": str(replicas)}


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=begin_generation,
    prepare_for_update=carry_generation,
    warnings=template_warnings,
    selectable_fields=_selectable_fields,
    status_subresource=True,
)
