"""Whose children are whose: adoption and release by selector and controlling owner reference.

Source: Kubernetes' ``controller_ref_manager.go``. An owner adopts what its selector matches and nobody controls, and
releases what it controls and its selector no longer matches; an owner that is being deleted does neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.store.cache import Cache, CacheEvent, Entry
from flotilla.api.objects import KubeObject, controller_of, is_deleting, owner_reference, uid_of
from flotilla.api.registry import Resource
from flotilla.api.selectors import LabelSelector


class OrphanIndex:
    """Names of the objects of one kind that no controller owns, by namespace; fed with events in order."""

    def __init__(self, cache: Cache, resource: Resource) -> None:
        self._cache = cache
        self._resource = resource
        self._names: dict[str, set[str]] = {}

    def reset(self) -> None:
        self._names.clear()

    def observe(self, event: CacheEvent) -> None:
        entry = event.entry
        if event.type != "DELETED" and controller_of(entry.obj) is None:
            self._names.setdefault(entry.namespace, set()).add(entry.name)
        elif entry.namespace in self._names:
            names = self._names[entry.namespace]
            names.discard(entry.name)
            if not names:
                del self._names[entry.namespace]

    def entries(self, namespace: str) -> list[Entry]:
        """What is orphaned in the namespace and still there."""
        found = [self._cache.get(self._resource, namespace, name) for name in sorted(self._names.get(namespace, ()))]
        return [entry for entry in found if entry is not None]


@dataclass(frozen=True, slots=True)
class Claim:
    """``owned`` includes what is to be adopted, and leaves out what is to be released."""

    owned: tuple[Entry, ...]
    adopt: tuple[Entry, ...]
    release: tuple[Entry, ...]


def claim(owner: KubeObject, selector: LabelSelector, *, children: Iterable[Entry], orphans: Iterable[Entry]) -> Claim:
    """Sort the present children and the orphans of the namespace."""
    present = tuple(children)
    if is_deleting(owner):
        return Claim(present, (), ())
    keep = tuple(child for child in present if selector.matches(child.labels))
    release = tuple(child for child in present if not selector.matches(child.labels) and not is_deleting(child.obj))
    adopt = tuple(orphan for orphan in orphans if selector.matches(orphan.labels) and not is_deleting(orphan.obj))
    return Claim(keep + adopt, adopt, release)


def children_of(cache: Cache, owner: KubeObject, resource: Resource) -> list[Entry]:
    """Objects of one kind that ``owner`` controls, by name."""
    uid = uid_of(owner)
    found = [entry for entry in cache.by_owner(uid) if entry.resource is resource and controls(uid, entry.obj)]
    return sorted(found, key=lambda entry: entry.key)


def controls(owner_uid: str, obj: KubeObject) -> bool:
    """Whether the object's controlling owner has this uid."""
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == owner_uid


def with_owner(obj: KubeObject, owner: KubeObject, *, uid: str) -> KubeObject | None:
    """The object adopted by ``owner``; None if it is not the one with ``uid``, is going, or has a controller."""
    if uid_of(obj) != uid or is_deleting(obj) or controller_of(obj) is not None:
        return None
    obj["metadata"].setdefault("ownerReferences", []).append(owner_reference(owner))
    return obj


def without_owner(obj: KubeObject, owner_uid: str) -> KubeObject | None:
    """The object without its reference to that owner; None if it has none."""
    references = obj["metadata"].get("ownerReferences") or []
    kept = [reference for reference in references if reference["uid"] != owner_uid]
    if len(kept) == len(references):
        return None
    obj["metadata"]["ownerReferences"] = kept
    return obj
