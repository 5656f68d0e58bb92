"""The schemas of kinds that were defined at run time, as OpenAPI documents show them.

Version 3 shows them as their authors wrote them. Version 2 knows less: what it has no word for is left out there, as
Kubernetes leaves it out, so that a client takes more for valid than the server does, never less.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.api.openapi_paths import Document
from flotilla.api.registry import Resource

_PREFIX = "#/$defs/"
_LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_V2_KEYS = frozenset(
    {"$ref", "additionalProperties", "description", "format", "items", "properties", "required", "type"}
)
_VERSION = "The version of the schema of this object: group/version."
_KIND = "The kind of this object."


def custom_definitions(rows: Iterable[Resource], prefix: str, *, version_2: bool) -> Document:
    """The definitions of the kinds among ``rows`` that were defined at run time, and of their lists."""
    definitions: Document = {}
    for row in rows:
        if row.shape is not None:
            written = _written(row.shape.openapi, prefix, version_2=version_2)
            definitions[row.definition] = written
            definitions[f"{row.definition}List"] = _list_of(row, prefix)
    return definitions


def _list_of(row: Resource, prefix: str) -> Document:
    gvk = {"group": row.group, "version": row.version, "kind": row.list_kind}
    return {
        "description": f"{row.list_kind} is a list of {row.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": _VERSION},
            "kind": {"type": "string", "description": _KIND},
            "metadata": {"$ref": prefix + _LIST_META},
            "items": {
                "type": "array",
                "description": f"The objects of kind {row.kind}.",
                "items": {"$ref": prefix + row.definition},
            },
        },
        "x-kubernetes-group-version-kind": [gvk],
    }


def _written(schema: Any, prefix: str, *, version_2: bool) -> Document:
    result: Document = {}
    for key, value in schema.items():
        if version_2 and key not in _V2_KEYS and not key.startswith("x-"):
            continue
        if key == "$ref":
            result[key] = prefix + value.removeprefix(_PREFIX)
        elif key == "properties":
            result[key] = {name: _written(child, prefix, version_2=version_2) for name, child in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            result[key] = _written(value, prefix, version_2=version_2)
        else:
            result[key] = value
    return result
