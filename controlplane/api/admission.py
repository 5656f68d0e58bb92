"""Rules of single kinds that refuse a request before its object is looked at."""

from __future__ import annotations

from flotilla.api.errors import forbidden
from flotilla.api.registry import Resource
from flotilla.api.resources import NAMESPACES

_IMMORTAL_NAMESPACES = ("default", "kube-system", "kube-public")


def refuse_protected(resource: Resource, name: str) -> None:
    """Forbidden for the namespaces that the cluster can't do without."""
    if resource is NAMESPACES and name in _IMMORTAL_NAMESPACES:
        raise forbidden(f'namespaces "{name}" is forbidden: this namespace may not be deleted')
