"""An API server on the in-memory store with the controller that accepts definitions."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from controlplane.controllers import custom_resources
from controlplane.reconcile.clock import utc_now
from controlplane.reconcile.controller import Controller
from flotilla.api.conditions import is_true
from flotilla.api.objects import KubeObject
from flotilla.api.resources import CUSTOM_RESOURCE_DEFINITIONS

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"

_SPEC: KubeObject = {
    "type": "object",
    "required": ["size"],
    "x-kubernetes-validations": [
        {"rule": "self.size >= self.least", "message": "size must not be below least"},
    ],
    "properties": {
        "size": {"type": "integer", "minimum": 0, "maximum": 10},
        "least": {"type": "integer", "default": 0},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
            },
        },
        "fixed": {
            "type": "string",
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed is immutable"}],
        },
        "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def definition(**more: Any) -> KubeObject:
    """A definition of widgets with one version."""
    schema = {
        "type": "object",
        "description": "A Widget is made for tests.",
        "properties": {
            "spec": copy.deepcopy(_SPEC),
            "status": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer"},
                    "selector": {"type": "string"},
                    "phase": {"type": "string"},
                },
            },
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.size",
                "statusReplicasPath": ".status.size",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        "selectableFields": [{"jsonPath": ".spec.color"}],
    }
    spec = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
        "versions": [version],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": spec | more,
    }


def widget(name: str = "w", **spec: Any) -> KubeObject:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": 3} | spec,
    }


@pytest.fixture
async def kinds(api: Any) -> AsyncIterator[Any]:
    """The server, with definitions being accepted."""
    controller = Controller(
        "custom-resource-definition",
        custom_resources.CustomResourceDefinitions(api.cache, api.operations, clock=utc_now),
        cache=api.cache,
        resources=lambda: custom_resources.followed(api.cache.registry),
        workers=1,
    )
    running = asyncio.create_task(controller.run())
    yield api
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def until(api: Any, condition: Callable[[], bool]) -> None:
    """Return once ``condition`` holds; it is asked again at each change of a definition."""
    async with asyncio.timeout(10):
        subscription = api.cache.subscribe([CUSTOM_RESOURCE_DEFINITIONS])
        try:
            while not condition():
                await subscription.batch()
        finally:
            subscription.close()


def established(api: Any, name: str) -> bool:
    entry = api.cache.get(CUSTOM_RESOURCE_DEFINITIONS, "", name)
    return entry is not None and is_true(entry.obj, "Established")


@pytest.fixture
async def widgets(kinds: Any) -> Any:
    """The server, serving widgets."""
    created = await kinds.post(DEFINITIONS, definition())
    assert created.status == 201, created.body
    await until(kinds, lambda: established(kinds, "widgets.example.com"))
    return kinds
