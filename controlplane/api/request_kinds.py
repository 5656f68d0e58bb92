"""Kinds that are sent and never stored: what is asked of an object through one of its subresources.

They have rows like any other kind, for decoding and merging, and are in no registry.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.api.bodies import decode_object, decoded, media_type_of, read_body
from controlplane.api.call import Call
from controlplane.api.decoding import admit
from flotilla.api.kinds.columns import AGE, NAME, column, spec_of, status_of
from flotilla.api.kinds.metadata import (
    metadata_fields,
    no_defaults,
    no_warnings,
    prepare_plain,
    prepare_plain_update,
    validate_metadata_only,
)
from flotilla.api.kinds.resource import Column, Strategy
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource

_STRATEGY = Strategy(
    default=no_defaults,
    validate=validate_metadata_only,
    prepare_for_create=prepare_plain,
    prepare_for_update=prepare_plain_update,
    warnings=no_warnings,
    selectable_fields=metadata_fields,
)


_SCALE_COLUMNS = (
    NAME,
    column("Desired", lambda obj, now: spec_of(obj).get("replicas", 0), type_="integer"),
    column("Available", lambda obj, now: status_of(obj).get("replicas", 0), type_="integer"),
    AGE,
)


def _row(group: str, version: str, kind: str, definition: str, columns: tuple[Column, ...] = ()) -> Resource:
    return Resource(
        group=group,
        version=version,
        plural=f"{kind.lower()}s",
        singular=kind.lower(),
        kind=kind,
        namespaced=True,
        definition=definition,
        columns=columns,
        strategy=_STRATEGY,
    )


BINDING = _row("", "v1", "Binding", "io.k8s.api.core.v1.Binding")
EVICTION = _row("policy", "v1", "Eviction", "io.k8s.api.policy.v1.Eviction")
EVICTION_V1BETA1 = _row("policy", "v1beta1", "Eviction", EVICTION.definition)
SCALE = _row("autoscaling", "v1", "Scale", "io.k8s.api.autoscaling.v1.Scale", _SCALE_COLUMNS)


async def read_request(call: Call, rows: Sequence[Resource]) -> KubeObject:
    """The body of a request as one of ``rows``, whichever its apiVersion names. BadRequest, Invalid."""
    data, media_type = await read_body(call.request), media_type_of(call.request)
    validation, warnings = call.field_validation, call.warnings

    def decode() -> KubeObject:
        obj = decode_object(data, media_type)
        row = next((row for row in rows if row.api_version == obj.get("apiVersion")), rows[0])
        admit(row, obj, data, media_type, validation=validation, warnings=warnings)
        return obj

    return await decoded(decode, data, media_type)
