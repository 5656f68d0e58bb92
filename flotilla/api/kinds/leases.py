"""Lease: its strategy."""

from __future__ import annotations

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import invalid, negative, not_positive
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.objects import KubeObject


def _validate(lease: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = lease.get("spec") or {}
    errors = validate_metadata(lease)
    errors += not_positive("spec.leaseDurationSeconds", spec.get("leaseDurationSeconds"))
    errors += negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    if spec.get("holderIdentity") == "":
        errors.append(invalid("spec.holderIdentity", "", "must not be empty"))
    return errors


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
