"""What an HPA scales: the object behind ``spec.scaleTargetRef``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.reconcile.controller import ObjectKey
from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.errors import not_found
from flotilla.api.objects import namespace_of
from flotilla.api.registry import Resource
from flotilla.api.scales import wanted_replicas


class TargetError(Exception):
    """The target can't be scaled; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A scalable object and the replicas that its spec asks for."""

    resource: Resource
    entry: Entry
    replicas: int


def find_target(cache: Cache, autoscaler: Mapping[str, Any]) -> Target:
    """TargetError."""
    reference = autoscaler["spec"]["scaleTargetRef"]
    kind, name = reference["kind"], reference["name"]
    resource = cache.registry.by_kind(reference.get("apiVersion") or "v1", kind)
    if resource is None:
        raise TargetError(f'no matches for kind "{kind}" in version "{reference.get("apiVersion", "")}"')
    if "scale" not in resource.subresources:
        raise TargetError(f"{resource.plural} can't be scaled: they have no scale subresource")
    entry = cache.get(resource, namespace_of(autoscaler), name)
    if entry is None:
        raise TargetError(not_found(f"{resource.plural}/scale", name, group=resource.group).message)
    return Target(resource, entry, wanted_replicas(resource, entry.obj, unset=1))


class TargetIndex:
    """Which autoscalers scale an object. Fed with every event of every autoscaler, in order."""

    def __init__(self) -> None:
        self._targets: dict[ObjectKey, tuple[str, str, str]] = {}
        self._scalers: dict[tuple[str, str, str], set[ObjectKey]] = {}

    def observe(self, event: CacheEvent) -> None:
        """An autoscaler has appeared, changed, or gone."""
        entry = event.entry
        key = (entry.namespace, entry.name)
        before = self._targets.pop(key, None)
        if before is not None:
            self._scalers[before].discard(key)
            if not self._scalers[before]:
                del self._scalers[before]
        if event.type == "DELETED":
            return
        reference = entry.obj["spec"]["scaleTargetRef"]
        target = (entry.namespace, reference["kind"], reference["name"])
        self._targets[key] = target
        self._scalers.setdefault(target, set()).add(key)

    def of(self, target: Entry) -> list[ObjectKey]:
        """The autoscalers that scale the object, by name."""
        return sorted(self._scalers.get((target.namespace, target.resource.kind, target.name), ()))
