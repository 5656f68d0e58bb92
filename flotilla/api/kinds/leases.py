"""Lease: its strategy."""

from __future__ import annotations

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import each_invalid, forbidden, negative, not_positive, unsupported
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata,
)
from flotilla.api.kinds.resource import Strategy
from flotilla.api.names import qualified_name_faults
from flotilla.api.objects import KubeObject

_STRATEGIES = ("OldestEmulationVersion",)


def _validate_strategy(strategy: str, path: str) -> list[FieldError]:
    """How the holder is chosen: by Kubernetes' one way, or by another's that has its domain before it."""
    if "/" in strategy:
        return each_invalid(path, strategy, qualified_name_faults(strategy))
    return [] if strategy in _STRATEGIES else [unsupported(path, strategy, _STRATEGIES)]


def _validate(lease: KubeObject, old: KubeObject | None) -> list[FieldError]:
    spec = lease.get("spec") or {}
    errors = validate_metadata(lease)
    errors += not_positive("spec.leaseDurationSeconds", spec.get("leaseDurationSeconds"))
    errors += negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    strategy = spec.get("strategy")
    if strategy is not None:
        errors += _validate_strategy(strategy, "spec.strategy")
    if spec.get("preferredHolder") and not strategy:
        errors.append(forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined"))
    return errors


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
