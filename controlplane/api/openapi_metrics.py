"""The definitions of ``metrics.k8s.io``, which is no part of the published schema: services of their own serve it."""

from __future__ import annotations

from typing import Any

PACKAGE = "io.k8s.metrics.pkg.apis.metrics.v1beta1."
_GROUP = {"group": "metrics.k8s.io", "version": "v1beta1"}
_GVK = "x-kubernetes-group-version-kind"
_MACHINERY = "io.k8s.apimachinery.pkg."
_QUANTITY = f"{_MACHINERY}api.resource.Quantity"
REFERENCES = (_QUANTITY,)
"""Definitions of the published schema that these refer to, beside those that all groups share."""
_TEXT = {"type": "string"}

Document = dict[str, Any]


def metrics_definitions(prefix: str) -> Document:
    """The four kinds and what they consist of; references begin with ``prefix``."""
    usage = {
        "description": "The resources used, by name.",
        "type": "object",
        "additionalProperties": {"$ref": prefix + _QUANTITY},
    }
    interval = {
        "timestamp": {"description": "The end of the time that was measured.", "type": "string", "format": "date-time"},
        "window": {"description": "The length of the time that was measured.", "type": "string"},
    }
    containers = {
        "description": "What each container uses.",
        "type": "array",
        "items": {"$ref": f"{prefix}{PACKAGE}ContainerMetrics"},
    }
    return {
        f"{PACKAGE}ContainerMetrics": {
            "description": "What a container of a pod uses.",
            "type": "object",
            "required": ["name", "usage"],
            "properties": {"name": {"description": "The container's name.", "type": "string"}, "usage": usage},
        },
        f"{PACKAGE}NodeMetrics": _kind("NodeMetrics", "What a node uses.", interval | {"usage": usage}, prefix),
        f"{PACKAGE}NodeMetricsList": _list("NodeMetrics", prefix),
        f"{PACKAGE}PodMetrics": _kind("PodMetrics", "What a pod uses.", interval | {"containers": containers}, prefix),
        f"{PACKAGE}PodMetricsList": _list("PodMetrics", prefix),
    }


def _kind(kind: str, description: str, fields: Document, prefix: str, *, metadata: str = "ObjectMeta") -> Document:
    own = {
        "apiVersion": _TEXT | {"description": "The version of this representation."},
        "kind": _TEXT | {"description": "The kind of this object."},
        "metadata": {"$ref": f"{prefix}{_MACHINERY}apis.meta.v1.{metadata}"},
    }
    return {
        "description": description,
        "type": "object",
        "required": sorted(fields),
        "properties": own | fields,
        _GVK: [_GROUP | {"kind": kind}],
    }


def _list(kind: str, prefix: str) -> Document:
    items = {"description": "The objects.", "type": "array", "items": {"$ref": f"{prefix}{PACKAGE}{kind}"}}
    return _kind(f"{kind}List", f"A list of {kind}.", {"items": items}, prefix, metadata="ListMeta")
