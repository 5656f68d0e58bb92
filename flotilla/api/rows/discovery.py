"""``discovery.k8s.io``: the addresses behind Services."""

from __future__ import annotations

from flotilla.api.kinds import endpoints, service_columns
from flotilla.api.kinds.resource import Resource, guarded

ENDPOINT_SLICES = Resource(
    group="discovery.k8s.io",
    version="v1",
    plural="endpointslices",
    singular="endpointslice",
    kind="EndpointSlice",
    namespaced=True,
    definition="io.k8s.api.discovery.v1.EndpointSlice",
    columns=service_columns.SLICE_COLUMNS,
    strategy=guarded(endpoints.SLICE_STRATEGY),
)

ROWS = (ENDPOINT_SLICES,)
