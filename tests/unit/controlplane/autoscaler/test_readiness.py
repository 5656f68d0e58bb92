"""When pods became ready, as the autoscaler remembers it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controlplane.api.operations import Operations
from controlplane.autoscaler.controller import AutoscalerReconciler
from controlplane.autoscaler.figures import Figures
from controlplane.autoscaler.readiness import Readiness, ReadinessTracker
from controlplane.reconcile.clock import utc_now
from controlplane.reconcile.events import EventRecorder
from controlplane.store.cache import Cache, CacheEvent
from controlplane.store.memory import MemoryStore
from controlplane.store.store import KeyValue
from flotilla.api.objects import encode
from flotilla.api.registry import REGISTRY
from flotilla.api.resources import PODS


async def test_pods_that_went_unseen_are_forgotten_at_the_next_list() -> None:
    """A pod whose deletion was missed is not remembered for ever: a list that starts over leaves it out."""
    store = MemoryStore()
    cache = Cache(store, REGISTRY.all())
    objects = Operations(store, cache)
    recorder = EventRecorder(objects, cache, component="test")
    reconciler = AutoscalerReconciler(cache, objects, recorder, Figures(), clock=utc_now)
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    pod = {"metadata": {"name": "a", "uid": "1"}, "status": {"conditions": conditions}}
    entry = cache.read(PODS, KeyValue("/registry/pods/default/a", encode(pod), 1, 1))
    reconciler.keys(CacheEvent("ADDED", entry, None, 1))
    assert reconciler._readiness.of("1") is not None
    reconciler.reset()
    assert reconciler._readiness.of("1") is None


def _pod(status: dict[str, object]) -> dict[str, object]:
    return {"metadata": {"name": "a", "uid": "1"}, "status": status}


def test_what_is_seen_is_not_told_by_clocks_of_others() -> None:
    """A start and a readiness that come in are of now, whatever the node's clock says; of those before, it is asked."""
    now = [datetime(2026, 1, 1, 12, tzinfo=UTC)]
    cache = Cache(MemoryStore(), REGISTRY.all())

    def observe(tracker: ReadinessTracker, status: dict[str, object]) -> None:
        entry = cache.read(PODS, KeyValue("/registry/pods/default/a", encode(_pod(status)), 1, 1))
        tracker.observe(CacheEvent("MODIFIED", entry, None, 1))

    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T06:00:09Z"}
    unready = {**ready, "status": "False", "lastTransitionTime": "2026-01-01T06:00:00Z"}
    tracker = ReadinessTracker(lambda: now[0])
    observe(tracker, {})
    observe(tracker, {"startTime": "2026-01-01T06:00:00Z", "conditions": [unready]})
    now[0] += timedelta(seconds=9)
    observe(tracker, {"startTime": "2026-01-01T06:00:00Z", "conditions": [ready]})
    assert tracker.of("1") == Readiness(True, now[0], now[0] - timedelta(seconds=9))
    late = ReadinessTracker(lambda: now[0])
    observe(late, {"startTime": "2026-01-01T06:00:00Z", "conditions": [ready]})
    assert late.of("1") == Readiness(
        True, datetime(2026, 1, 1, 6, 0, 10, tzinfo=UTC), datetime(2026, 1, 1, 6, tzinfo=UTC)
    )
    ahead = ReadinessTracker(lambda: now[0])
    observe(ahead, {"startTime": "2026-01-02T06:00:00Z", "conditions": [ready | {"lastTransitionTime": None}]})
    assert ahead.of("1") == Readiness(True, now[0], now[0])
