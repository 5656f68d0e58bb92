"""What all pod workers of a node share: its parts, and where results go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from flotilla.api.objects import KubeObject
from nodeagent.cgroups import PodCgroups
from nodeagent.container_starter import ContainerStarter
from nodeagent.pacing import StartPacer
from nodeagent.pod_events import EventSink
from nodeagent.pod_state import ResizeProblem
from nodeagent.pod_status import NodeIdentity
from nodeagent.pod_store import PodStore
from nodeagent.runtime.containers import Containers
from nodeagent.sandbox import Sandboxes
from nodeagent.volumes.payload import VolumeObjects

Result = TypeVar("Result")


class StatusSink(Protocol):
    """Where a pod's status goes. ``terminated``: the node holds nothing of the pod any more."""

    def __call__(self, pod: KubeObject, status: KubeObject, *, terminated: bool) -> None: ...


class ServingGate(Protocol):
    """Waits until this node's service rules no longer lead to an address, for a bounded time."""

    async def __call__(self, ip: str) -> None: ...


@dataclass(frozen=True, slots=True)
class PodContext:
    """One node's parts, as its pods need them."""

    starter: ContainerStarter
    containers: Containers
    sandboxes: Sandboxes
    cgroups: PodCgroups
    objects: VolumeObjects
    store: PodStore
    executor: Executor
    node: NodeIdentity
    boot_id: str
    events: EventSink
    report: StatusSink
    out_of_service: ServingGate
    resize_problem: Callable[[KubeObject], ResizeProblem | None] = lambda pod: None
    pacer: StartPacer = field(default_factory=StartPacer)

    async def blocking(self, call: Callable[..., Result], *arguments: Any) -> Result:
        """Run a call that blocks in the node's bounded pool of threads."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, call, *arguments)
