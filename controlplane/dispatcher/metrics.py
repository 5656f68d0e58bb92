"""Prometheus series of the dispatcher."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SESSIONS = Gauge("flotilla_agent_sessions", "Open sessions of node agents.")
ASSIGNMENTS = Counter("flotilla_assignment_messages_total", "Sets and increments sent to agents, by kind.", ["kind"])
STATUS_WRITES = Histogram(
    "flotilla_pod_status_write_seconds",
    "Time from taking a pod's status up to storing it, retries included.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30),
)
