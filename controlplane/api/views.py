"""Objects in the form in which a row serves them and in the form in which they are stored.

Only some rows are views of others (:class:`flotilla.api.kinds.resource.View`); for all others both forms are the same
object, and these functions cost one comparison.
"""

from __future__ import annotations

from controlplane.store.entry import viewed_entry
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource

__all__ = ["served_object", "stored_object", "viewed_entry"]


def served_object(resource: Resource, obj: KubeObject) -> KubeObject:
    """A stored object as ``resource`` shows it; read-only, may share parts with ``obj``."""
    return obj if resource.view is None else resource.view.from_stored(obj)


def stored_object(resource: Resource, obj: KubeObject) -> KubeObject:
    """An object of ``resource`` as it is stored; may share parts with ``obj``."""
    return obj if resource.view is None else resource.view.to_stored(obj)
