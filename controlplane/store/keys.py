"""Where things lie in the key space.

Objects lie as Kubernetes lays them out, ``/registry/<group/resource>/<namespace>/<name>``, so that its tools and
habits apply; what Flotilla keeps for itself lies apart under ``/flotilla/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flotilla.api.registry import Resource

REGISTRY_PREFIX = "/registry/"
LEADER_KEY = "/flotilla/leader"
HISTORY_KEY = "/flotilla/history"
COMPACTION_KEY = "/flotilla/compaction"
SOLE_KEY = "/flotilla/sole"
SERVERS_PREFIX = "/flotilla/servers/"


def object_key(resource: Resource, namespace: str, name: str) -> str:
    """The key of one object; ``namespace`` is ``""`` for a cluster-scoped resource."""
    if namespace:
        return f"/registry/{resource.storage}/{namespace}/{name}"
    return f"/registry/{resource.storage}/{name}"


def resource_prefix(resource: Resource, namespace: str = "") -> str:
    """What the keys of all objects of a resource start with, or of those in one namespace."""
    if namespace:
        return f"/registry/{resource.storage}/{namespace}/"
    return f"/registry/{resource.storage}/"


def prefix_end(prefix: str) -> str:
    """The first key after all that start with ``prefix``, which must not be empty."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def after(key: str) -> str:
    """The first possible key after ``key``: where the page after it starts."""
    return key + "\0"
