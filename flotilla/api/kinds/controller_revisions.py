"""ControllerRevision: its strategy. Its data is a snapshot, which never changes."""

from __future__ import annotations

from flotilla.api.errors import FieldError
from flotilla.api.kinds.faults import IMMUTABLE, invalid, negative, required
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


def _validate(revision: KubeObject, old: KubeObject | None) -> list[FieldError]:
    errors = validate_metadata(revision)
    if revision.get("data") is None:
        errors.append(required("data", "data is mandatory"))
    errors += negative("revision", revision.get("revision", 0))
    if old is not None and revision.get("data") != old.get("data"):
        errors.append(invalid("data", revision.get("data"), IMMUTABLE))
    return errors


STRATEGY = Strategy(
    default=no_defaults,
    validate=_validate,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
