"""Replica counts from load.

:mod:`samples` keeps what the agents measure, :mod:`readiness` when pods became ready, :mod:`pods` turns them into
facts about the pods of a target, :mod:`calculator` computes a replica count from those, :mod:`stabilization` damps and
limits it, :mod:`decision` puts the two together into one decision with its reasons, and :mod:`controller` carries it
out. What comes before is the dispatcher, which hands samples in; what comes after is the Deployment controller.
"""

from __future__ import annotations

from controlplane.autoscaler.controller import Autoscaler
from controlplane.autoscaler.figures import Figures
from controlplane.reconcile.clock import Clock, utc_now
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.store.cache import Cache


def build_autoscaler(
    cache: Cache, objects: Objects, recorder: EventRecorder, figures: Figures, *, clock: Clock = utc_now
) -> Autoscaler:
    """The autoscaler, to be run while this server leads; ``recorder.run()`` is the caller's to run."""
    return Autoscaler(cache, objects, recorder, figures, clock=clock)
