"""What an HPA scales: the object behind ``spec.scaleTargetRef``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.store.cache import Cache, Entry
from flotilla.api.errors import not_found
from flotilla.api.objects import name_of, namespace_of
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


def refers_to(autoscaler: Mapping[str, Any], obj: Mapping[str, Any]) -> bool:
    """Whether the autoscaler, of the same namespace, scales the object."""
    reference = autoscaler["spec"]["scaleTargetRef"]
    return (reference["kind"], reference["name"]) == (obj["kind"], name_of(obj))
