"""Rules of single kinds that change or refuse a write before it is validated."""

from __future__ import annotations

import base64

from flotilla.api.errors import forbidden
from flotilla.api.objects import KubeObject
from flotilla.api.registry import Resource

_IMMORTAL_NAMESPACES = ("default", "kube-system", "kube-public")


def merge_string_data(secret: KubeObject) -> None:
    """Fold the write-only ``stringData`` of a Secret into ``data``."""
    plain = secret.pop("stringData", None)
    if not plain:
        return
    encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
    secret["data"] = (secret.get("data") or {}) | encoded


def refuse_protected(resource: Resource, name: str) -> None:
    """Forbidden for the namespaces that the cluster can't do without."""
    if resource.kind == "Namespace" and name in _IMMORTAL_NAMESPACES:
        raise forbidden(f'namespaces "{name}" is forbidden: this namespace may not be deleted')
