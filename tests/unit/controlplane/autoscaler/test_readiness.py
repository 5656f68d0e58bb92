"""When pods became ready, as the autoscaler remembers it."""

from __future__ import annotations

from controlplane.api.operations import Operations
from controlplane.autoscaler.controller import AutoscalerReconciler
from controlplane.autoscaler.figures import Figures
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
