"""Whether a pod that wants more than it was started with still fits on the node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flotilla.api.objects import KubeObject, uid_of
from flotilla.api.workloads import pod_requests
from nodeagent.pod_state import ResizeProblem

_UNITS = {"cpu": "m of CPU", "memory": " bytes of memory"}


def resize_problem(
    pod: KubeObject, others: Iterable[KubeObject], allocatable: Mapping[str, int]
) -> ResizeProblem | None:
    """Why the requests of ``pod`` can't be met beside those of ``others``; None if they can.

    ``allocatable`` is what the node has for pods: ``cpu`` in millis, ``memory`` in bytes; more is not looked at.
    """
    wanted = pod_requests(pod["spec"])
    held = dict.fromkeys(_UNITS, 0)
    for other in others:
        if uid_of(other) != uid_of(pod):
            held = {name: held[name] + amount for name, amount in pod_requests(other["spec"]).items()}
    for name in _UNITS:
        total = allocatable[name]
        unit = _UNITS[name]
        if wanted[name] > total:
            return ResizeProblem("Infeasible", f"Node has {total}{unit}, the pod requests {wanted[name]}{unit}")
        if wanted[name] + held[name] > total:
            free = max(0, total - held[name])
            return ResizeProblem("Deferred", f"Node has {free}{unit} left, the pod requests {wanted[name]}{unit}")
    return None
