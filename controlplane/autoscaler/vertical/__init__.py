"""Requests from use: what each container of a workload should request, and running pods resized to it.

:mod:`histogram` counts what was used, :mod:`history` is that for one container, :mod:`recommendation` makes a range of
it, :mod:`sizing` a pod's new resources of that, :mod:`planning` says whose turn it is, and :mod:`controller` carries it
out. :mod:`facts` are what is read of pods, :mod:`knowledge` is what is remembered of a workload, :mod:`checkpoint`
where that is kept, :mod:`explaining` what people are shown. What comes before are the agents' samples; what comes after
is the node, which resizes.
"""

from __future__ import annotations

from controlplane.autoscaler.figures import Figures
from controlplane.autoscaler.vertical.controller import VerticalAutoscaler
from controlplane.reconcile.events import EventRecorder
from controlplane.reconcile.objects import Objects
from controlplane.store.cache import Cache


def build_vertical_autoscaler(
    cache: Cache, objects: Objects, recorder: EventRecorder, figures: Figures
) -> VerticalAutoscaler:
    """To be run while this server leads; ``recorder.run()`` is the caller's to run."""
    return VerticalAutoscaler(cache, objects, recorder, figures.samples)
