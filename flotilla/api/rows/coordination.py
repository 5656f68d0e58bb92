"""``coordination.k8s.io``: who holds what, and who is alive."""

from __future__ import annotations

from flotilla.api.kinds import data_columns, leases
from flotilla.api.kinds.resource import Resource, guarded

LEASES = Resource(
    group="coordination.k8s.io",
    version="v1",
    plural="leases",
    singular="lease",
    kind="Lease",
    namespaced=True,
    definition="io.k8s.api.coordination.v1.Lease",
    columns=data_columns.LEASE_COLUMNS,
    strategy=guarded(leases.STRATEGY),
)

ROWS = (LEASES,)
