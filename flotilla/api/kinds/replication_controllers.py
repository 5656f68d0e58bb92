"""ReplicationController: its strategy. Its selector is a plain map of labels, taken from the template if absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid, negative, required
from flotilla.api.kinds.metadata import begin_generation, carry_generation, metadata_fields, validate_metadata
from flotilla.api.kinds.pod_templates import (
    default_template,
    template_labels,
    template_warnings,
    validate_endless_template,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.status_counts import counts_status
from flotilla.api.kinds.stored_only import stored_only
from flotilla.api.objects import KubeObject

_PARTS = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def _default(controller: KubeObject) -> None:
    spec = controller.setdefault("spec", {})
    labels = template_labels(spec.get("template"))
    if labels:
        spec["selector"] = spec.get("selector") or dict(labels)
        controller["metadata"]["labels"] = controller["metadata"].get("labels") or dict(labels)
    spec.setdefault("replicas", 1)
    default_template(spec)


def _validate(controller: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = controller["spec"]
    errors = validate_metadata(controller)
    errors += negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    selector, labels = spec.get("selector") or {}, template_labels(spec.get("template"))
    if not selector:
        errors.append(required("spec.selector"))
    errors += negative("spec.replicas", spec.get("replicas"))
    if spec.get("template") is not None and not selector.items() <= labels.items():
        errors.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    return errors + validate_endless_template(spec.get("template"), kind="ReplicationController")


def _warnings(controller: KubeObject) -> list[str]:
    warning = stored_only("ReplicationController", "its pods will not be created; a Deployment does the same")
    return [warning, *template_warnings(controller["spec"], "spec.template")]


def _selectable_fields(controller: Mapping[str, Any]) -> dict[str, str]:
    replicas = (controller.get("status") or {}).get("replicas", 0)
    return metadata_fields(controller) | {"status.replicas": str(replicas)}


STRATEGY = Strategy(
    default=_default,
    validate=_validate,
    prepare_for_create=begin_generation("replicas"),
    prepare_for_update=carry_generation,
    warnings=_warnings,
    selectable_fields=_selectable_fields,
    status_subresource=True,
    validate_subresource=counts_status(
        ("replicas", *_PARTS, "observedGeneration"), parts=_PARTS, ready="readyReplicas"
    ),
)
