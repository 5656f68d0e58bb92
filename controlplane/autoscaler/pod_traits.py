"""What an evaluation reads of a pod's object, kept for as long as the object stays as it is.

Objects are kept encoded, and of ten thousand pods only some stay decoded; autoscalers look at all of theirs every
second.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from controlplane.autoscaler.usage import PodState
from flotilla.api.objects import is_deleting, name_of
from flotilla.api.quantities import bytes_of, cpu_millis

Resources = Mapping[str, Mapping[str, Any]]


@dataclass(slots=True)
class PodTraits:
    """``containers`` are those that run for the pod's whole life, with their resources; ``whole`` are the pod's own."""

    revision: int
    name: str
    phase: str
    deleting: bool
    whole: Resources
    containers: tuple[tuple[str, Resources], ...]
    _amounts: dict[tuple[str, str, str], tuple[int | None, str]] = field(default_factory=dict)

    def amount(self, part: str, resource: str, container: str) -> tuple[int | None, str]:
        """The request or limit (``part``) of a resource, of all containers or of one; None and the reason if there
        is none. Thousandths of a core, or bytes."""
        key = (part, resource, container)
        if key not in self._amounts:
            self._amounts[key] = self._read(*key)
        return self._amounts[key]

    def _read(self, part: str, resource: str, container: str) -> tuple[int | None, str]:
        if not container:
            whole = _quantity(self.whole, part, resource)
            if whole is not None:
                return whole, ""
        total, found = 0, False
        for name, resources in self.containers:
            if container and name != container:
                continue
            amount = _quantity(resources, part, resource)
            if amount is None:
                return None, f"missing request for {resource} in container {name} of Pod {self.name}"
            total, found = total + amount, True
        if not found:
            return None, f"container {container} not present in Pod {self.name}"
        return total, ""


class PodTraitsCache:
    """Traits by pod, read anew when the object has changed."""

    def __init__(self) -> None:
        self._known: dict[str, PodTraits] = {}

    def of(self, pod: PodState) -> PodTraits:
        known = self._known.get(pod.uid)
        if known is None or known.revision != pod.revision:
            known = self._known[pod.uid] = _read(pod)
        return known

    def forget(self, uid: str) -> None:
        """The pod has gone."""
        self._known.pop(uid, None)

    def keep(self, uids: Set[str]) -> None:
        """Forget all other pods."""
        self._known = {uid: traits for uid, traits in self._known.items() if uid in uids}


def _read(pod: PodState) -> PodTraits:
    obj = pod.obj
    spec, status = obj["spec"], obj.get("status") or {}
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    lasting = (*spec.get("containers", ()), *sidecars)
    return PodTraits(
        revision=pod.revision,
        name=name_of(obj),
        phase=status.get("phase") or "Pending",
        deleting=is_deleting(obj),
        whole=spec.get("resources") or {},
        containers=tuple((each["name"], each.get("resources") or {}) for each in lasting),
    )


def _quantity(resources: Resources, part: str, resource: str) -> int | None:
    value = (resources.get(part) or {}).get(resource)
    if value is None:
        return None
    return cpu_millis(value) if resource == "cpu" else bytes_of(value)
