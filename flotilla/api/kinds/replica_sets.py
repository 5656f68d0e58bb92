"""ReplicaSet: its strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import negative
from flotilla.api.kinds.metadata import (
    begin_generation,
    carry_generation,
    metadata_fields,
    validate_metadata,
)
from flotilla.api.kinds.pod_templates import (
    default_template,
    template_warnings,
    validate_endless_template,
    validate_selector_update,
    validate_workload_selector,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.kinds.status_counts import counts_status
from flotilla.api.objects import KubeObject

_PARTS = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")


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
    errors += validate_endless_template(spec.get("template"), kind="ReplicaSet")
    return errors if old is None else errors + validate_selector_update(replica_set, old)


def _warnings(replica_set: KubeObject) -> list[str]:
    return template_warnings(replica_set["spec"], "spec.template")


def _selectable_fields(replica_set: Mapping[str, Any]) -> dict[str, str]:
    replicas = (replica_set.get("status") or {}).get("replicas", 0)
    return metadata_fields(replica_set) | {"status.replicas": str(replicas)}


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
