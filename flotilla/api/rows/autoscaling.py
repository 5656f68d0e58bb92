"""``autoscaling``: what changes the number of replicas."""

from __future__ import annotations

from flotilla.api.kinds import autoscaler_columns, autoscaler_view, autoscalers
from flotilla.api.kinds.resource import Resource, View, guarded

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

HORIZONTAL_POD_AUTOSCALERS_V1 = Resource(
    group="autoscaling",
    version="v1",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    kind="HorizontalPodAutoscaler",
    namespaced=True,
    definition="io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    columns=autoscaler_view.COLUMNS,
    strategy=guarded(autoscaler_view.STRATEGY),
    short_names=("hpa",),
    categories=("all",),
    subresources=("status",),
    view=View(HORIZONTAL_POD_AUTOSCALERS, autoscaler_view.to_stored, autoscaler_view.from_stored),
)

ROWS = (HORIZONTAL_POD_AUTOSCALERS, HORIZONTAL_POD_AUTOSCALERS_V1)
