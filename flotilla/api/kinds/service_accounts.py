"""ServiceAccount: its strategy."""

from __future__ import annotations

from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata_only,
)
from flotilla.api.kinds.resource import Strategy

STRATEGY = Strategy(
    default=no_defaults,
    validate=validate_metadata_only,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)
