"""``autoscaling``: what changes the number of replicas."""

from __future__ import annotations

from flotilla.api.kinds import autoscaler_columns, autoscalers
from flotilla.api.kinds.resource import Resource, guarded

HORIZONTAL_POD_AUTOSCALERS = Resource(
    group="autoscaling",
    version="v2",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    kind="HorizontalPodAutoscaler",
    namespaced=True,
    definition="io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    columns=autoscaler_columns.COLUMNS,
    strategy=guarded(autoscalers.STRATEGY),
    short_names=("hpa",),
    categories=("all",),
    subresources=("status",),
)

ROWS = (HORIZONTAL_POD_AUTOSCALERS,)
