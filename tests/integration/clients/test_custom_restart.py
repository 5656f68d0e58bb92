"""Custom kinds and their objects are there after the server has started again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.kubectl.lab import RequestError, Server, until

pytestmark = pytest.mark.etcd

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_OBJECTS = "/apis/aaa.example.com/v1/things"


def _definition(**more: Any) -> dict[str, Any]:
    properties = {"size": {"type": "integer", "default": 1}} | more
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.aaa.example.com"},
        "spec": {
            "group": "aaa.example.com",
            "scope": "Cluster",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def _is_served(server: Server) -> bool:
    try:
        server.request("GET", _OBJECTS)
    except RequestError:
        return False
    return True


def test_kinds_survive_a_restart(restarting: Server) -> None:
    """The first list after a start must show what was there, though its keys come before the definition's."""
    server = restarting
    server.request("POST", _DEFINITIONS, _definition(extra={"type": "string"}))
    until("the kind is served", lambda: _is_served(server))
    thing = {"apiVersion": "aaa.example.com/v1", "kind": "Thing", "spec": {"extra": "kept"}}
    for number in range(3):
        server.request("POST", _OBJECTS, thing | {"metadata": {"name": f"t{number}"}})
    before = server.request("GET", _OBJECTS)
    server.restart()
    after = server.request("GET", _OBJECTS)
    assert [item["spec"] for item in after["items"]] == [{"extra": "kept", "size": 1}] * 3
    assert after["items"] == before["items"]
    crd = server.request("GET", f"{_DEFINITIONS}/things.aaa.example.com")
    server.request("PUT", f"{_DEFINITIONS}/things.aaa.example.com", crd | {"spec": _definition()["spec"]})

    def hidden() -> bool:
        return "extra" not in server.request("GET", f"{_OBJECTS}/t0")["spec"]

    until("the field is pruned", hidden)
    server.request("PUT", f"{_OBJECTS}/t1", server.request("GET", f"{_OBJECTS}/t1") | {"spec": {"size": 2}})
    server.restart()
    assert hidden()
    server.request("DELETE", f"{_DEFINITIONS}/things.aaa.example.com")
    until("the kind is gone", lambda: not _is_served(server))
