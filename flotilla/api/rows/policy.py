"""``policy``: how much of a workload may be taken away at a time."""

from __future__ import annotations

from flotilla.api.kinds import disruption_budgets
from flotilla.api.kinds.resource import Resource, guarded

POD_DISRUPTION_BUDGETS = Resource(
    group="policy",
    version="v1",
    plural="poddisruptionbudgets",
    singular="poddisruptionbudget",
    kind="PodDisruptionBudget",
    namespaced=True,
    definition="io.k8s.api.policy.v1.PodDisruptionBudget",
    columns=disruption_budgets.COLUMNS,
    strategy=guarded(disruption_budgets.STRATEGY),
    short_names=("pdb",),
    subresources=("status",),
)

ROWS = (POD_DISRUPTION_BUDGETS,)
