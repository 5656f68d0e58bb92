"""Prometheus series of the reconcile machine, under Kubernetes' names where it has them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("flotilla_reconcile_total", "Reconciles by outcome.", ["controller", "outcome"])
DURATION = Histogram(
    "flotilla_reconcile_duration_seconds",
    "Time from taking a key to its outcome.",
    ["controller"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
DEPTH = Gauge("workqueue_depth", "Keys that wait for a worker.", ["name"])
RELISTS = Counter("flotilla_informer_lists_total", "Complete lists that an informer fed to its controller.", ["name"])
EVENTS = Counter("flotilla_events_total", "Events recorded, by what became of them.", ["outcome"])
