"""``scheduling.k8s.io``: which pods come first."""

from __future__ import annotations

from flotilla.api.kinds import priority_classes
from flotilla.api.kinds.resource import Resource, guarded

PRIORITY_CLASSES = Resource(
    group="scheduling.k8s.io",
    version="v1",
    plural="priorityclasses",
    singular="priorityclass",
    kind="PriorityClass",
    namespaced=False,
    definition="io.k8s.api.scheduling.v1.PriorityClass",
    columns=priority_classes.COLUMNS,
    strategy=guarded(priority_classes.STRATEGY),
    short_names=("pc",),
)

ROWS = (PRIORITY_CLASSES,)
