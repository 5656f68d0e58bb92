"""``node.k8s.io``: the runtimes that pods may ask for."""

from __future__ import annotations

from flotilla.api.kinds import runtime_classes
from flotilla.api.kinds.resource import Resource, guarded

RUNTIME_CLASSES = Resource(
    group="node.k8s.io",
    version="v1",
    plural="runtimeclasses",
    singular="runtimeclass",
    kind="RuntimeClass",
    namespaced=False,
    definition="io.k8s.api.node.v1.RuntimeClass",
    columns=runtime_classes.COLUMNS,
    strategy=guarded(runtime_classes.STRATEGY),
)

ROWS = (RUNTIME_CLASSES,)
