"""What the control plane still knows of objects that are long gone, in virtual time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Iterator
from types import CoroutineType, FrameType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from controlplane.api.operations import Operations
from controlplane.reconcile.events import EventRecorder
from controlplane.store.cache import Cache
from controlplane.store.entry import DecodedObjects
from flotilla.api.resources import DEPLOYMENTS, NAMESPACES, PODS, SERVICES

if TYPE_CHECKING:
    from tests.simulation.conftest import Virtual, World

Make = Callable[..., Any]
_ELSEWHERE = (
    *(Cache, DecodedObjects, Operations, EventRecorder, asyncio.AbstractEventLoop, asyncio.Future),
    *(CoroutineType, FrameType, FunctionType, ModuleType, type),
)


def _known_words(parts: Iterable[object]) -> Iterator[str]:
    """Every string that the parts hold, however deep; the cache and what writes through it left out."""
    seen: set[int] = set()
    pending = list(parts)
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, str):
            yield each
        elif isinstance(each, MethodType):
            pending.append(each.__self__)
        elif not isinstance(each, _ELSEWHERE):
            # The collector passes a dictionary's keys over where all of them are strings.
            pending.extend([*gc.get_referents(each), *(each if isinstance(each, dict) else ())])


async def _come_and_go(world: World, deployment: Any, namespace: str, node: str) -> None:
    await world.create(NAMESPACES, {"metadata": {"name": namespace}, "spec": {"finalizers": ["kubernetes"]}})
    await world.create(DEPLOYMENTS, deployment, namespace)
    service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    await world.create(SERVICES, {"metadata": {"name": f"service-{namespace}"}, "spec": service}, namespace)
    lost = {"nodeName": node, "containers": [{"name": "app", "image": "app:1"}]}
    await world.create(PODS, {"metadata": {"name": f"pod-{namespace}"}, "spec": lost}, namespace)
    await world.until(lambda: len(world.list(PODS, namespace)) == 3)
    await world.delete(NAMESPACES, namespace)
    await world.until(lambda: world.get(NAMESPACES, namespace) is None)


def test_namespaces_leave_nothing_in_the_controllers(virtual: Virtual, make_world: Make, make_deployment: Make) -> None:
    """Controllers and scheduler forget all of a namespace and of a node that never was, once they are gone."""

    async def scenario() -> None:
        world = make_world()
        async with world.running(nodes=1):
            for number in range(3):
                gone = f"gone-{number}"
                await _come_and_go(world, make_deployment(f"web-{gone}"), gone, node=f"node-{gone}")
            await asyncio.sleep(30.0)
            assert sorted(word for word in set(_known_words(world.parts)) if "gone-" in word) == []

    virtual(scenario())
