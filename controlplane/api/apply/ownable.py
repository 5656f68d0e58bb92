"""The part of an object that managers can own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flotilla.api.objects import KubeObject

_NEVER_OWNED = ("apiVersion", "kind", "metadata")
_UNOWNED_METADATA = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "managedFields",
    }
)


def ownable(obj: Mapping[str, Any], *, without: Collection[str] = ()) -> KubeObject:
    """The part of an object that managers can own, apart from the fields ``without``. Shares with ``obj``."""
    bare = {name: value for name, value in obj.items() if name not in _NEVER_OWNED and name not in without}
    metadata = {name: value for name, value in obj["metadata"].items() if name not in _UNOWNED_METADATA}
    if metadata and "metadata" not in without:
        bare["metadata"] = metadata
    return bare
