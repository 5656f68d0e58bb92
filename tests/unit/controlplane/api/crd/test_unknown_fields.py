"""Unknown fields deep inside of custom objects and of definitions: named by their path, and never stored."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flotilla.api.objects import KubeObject

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_PORTS = {"ports": [{"name": "a", "port": 1, "prot": "TCP"}]}


def _widget(**spec: Any) -> KubeObject:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3} | spec}


async def test_items_of_lists_are_pruned(widgets: Any) -> None:
    """By a create and by a patch; the warning says in which item; apply refuses what nobody could own."""
    warning = '299 - "unknown field \\"spec.ports[0].prot\\""'
    created = await widgets.post(_WIDGETS, _widget(**copy.deepcopy(_PORTS)))
    assert (created.status, created.headers["Warning"]) == (201, warning)
    assert created.body["spec"]["ports"] == [{"name": "a", "port": 1}]
    patched = await widgets.ask("PATCH", f"{_WIDGETS}/w", {"spec": _PORTS}, content_type=_MERGE)
    assert (patched.status, patched.headers["Warning"]) == (200, warning)
    assert patched.body["spec"]["ports"] == [{"name": "a", "port": 1}]
    strict = f"{_WIDGETS}/w?fieldValidation=Strict"
    refused = await widgets.ask("PATCH", strict, {"spec": _PORTS}, content_type=_MERGE)
    assert (refused.status, 'unknown field "spec.ports[0].prot"' in refused.message) == (400, True)
    applied = await widgets.ask(
        "PATCH", f"{_WIDGETS}/w?fieldManager=m&force=true", _widget(**_PORTS), content_type=_APPLY
    )
    assert (applied.status, applied.message) == (
        400,
        "failed to create typed patch object (/w; example.com/v1, Kind=Widget): "
        ".spec.ports[0].prot: field not declared in schema",
    )


@pytest.mark.parametrize(
    ("part", "path", "kept"),
    [
        ({"type": "array", "items": {"type": "string", "typ": 1}}, "items.typ", {"items": {"type": "string"}}),
        (
            {"type": "object", "additionalProperties": {"type": "string", "typ": 1}},
            "additionalProperties.typ",
            {"additionalProperties": {"type": "string"}},
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "typ": 1}}},
            "properties.a.typ",
            {"properties": {"a": {"type": "string"}}},
        ),
    ],
)
async def test_definitions_are_pruned(widgets: Any, part: KubeObject, path: str, kept: KubeObject) -> None:
    """Schemas inside of schemas, too."""
    body = (await widgets.get(f"{_DEFINITIONS}/widgets.example.com")).body
    body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["more"] = part
    reply = await widgets.ask("PUT", f"{_DEFINITIONS}/widgets.example.com", body)
    where = f"spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.more.{path}"
    assert (reply.status, reply.headers["Warning"]) == (200, f'299 - "unknown field \\"{where}\\""')
    stored = reply.body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["more"]
    assert stored == {"type": part["type"]} | kept
    strict = await widgets.ask("PUT", f"{_DEFINITIONS}/widgets.example.com?fieldValidation=Strict", body)
    assert (strict.status, f'unknown field "{where}"' in strict.message) == (400, True)
