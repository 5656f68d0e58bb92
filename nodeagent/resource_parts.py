"""The parts that look at what a node has and uses, built and wired to each other: pages, eviction, disk bounds."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from flotilla.api.objects import KubeObject
from nodeagent.cgroups.limits import UNLIMITED
from nodeagent.disk.meter import DiskMeter
from nodeagent.metrics.exposition import registry
from nodeagent.metrics.pages import Pages
from nodeagent.metrics.sampler import Sampler
from nodeagent.network.pod_network import pod_link_name
from nodeagent.node_facts import Machine, NodeResources, capacity_of
from nodeagent.node_pages import NodePages
from nodeagent.node_parts import NodeParts
from nodeagent.node_view import NodeView
from nodeagent.pressure.evictor import Evictor
from nodeagent.pressure.storage_watch import StorageWatch
from nodeagent.reserves import allocatable, allocatable_status, capacity_status, pods_limits
from nodeagent.settings import AgentSettings
from nodeagent.upward import Uplink
from nodeagent.worker import Worker


@dataclass(frozen=True, slots=True)
class ResourceParts:
    """``allocatable`` is what pods may request together (``nodeagent.reserves``)."""

    pages: Pages
    evictor: Evictor
    storage_watch: StorageWatch
    capacity_status: KubeObject
    allocatable: dict[str, int]

    def node(self) -> NodeResources:
        """What the Node object says of the node's resources now."""
        return NodeResources(self.capacity_status, allocatable_status(self.allocatable), self.evictor.conditions)

    def running(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run, by name."""
        return {"evictions": self.evictor.run(), "disk bounds": self.storage_watch.run()}


def node_allocatable(settings: AgentSettings, machine: Machine) -> dict[str, int]:
    """What is left for pods with these settings. Raises InvalidReserveError."""
    return allocatable(capacity_of(machine, settings.data_dir), settings.reserves, settings.eviction)


def build_resource_parts(
    settings: AgentSettings,
    parts: NodeParts,
    *,
    machine: Machine,
    worker: Worker,
    sampler: Sampler,
    uplink: Uplink,
    healthy: Callable[[], bool],
    images_in_use: Callable[[], set[str]],
) -> ResourceParts:
    """Build them. No part runs yet."""
    capacity = capacity_of(machine, settings.data_dir)
    bound = pods_limits(capacity, settings.reserves).memory_bytes
    view = NodeView(
        settings.data_dir,
        workers=worker.pods,
        newest=lambda: sampler.newest,
        recent=lambda: sampler.recent,
        starter=parts.starter,
        pod_cgroup=parts.cgroups.known_path,
    )
    meter = DiskMeter()

    def remove_images() -> None:
        parts.images.hold(images_in_use())
        parts.images.reclaim()

    evictor = Evictor(
        settings.eviction,
        view,
        meter,
        node_name=settings.node_name,
        memory_bytes=machine.memory_bytes,
        remove_images=remove_images,
        conditions_changed=lambda conditions: uplink.node_changed({"conditions": conditions}),
        events=uplink.event,
        pods_memory_bytes=None if bound == UNLIMITED else bound,
        all_pods=parts.cgroups.reader_of_all,
    )
    pages = NodePages(
        view,
        meter,
        registry(lambda: sampler.newest, parts.layout, link_of=pod_link_name),
        layout=parts.layout,
        node_name=settings.node_name,
        link_of=pod_link_name,
    )
    return ResourceParts(
        pages.table(healthy),
        evictor,
        StorageWatch(view, meter, events=uplink.event),
        capacity_status(capacity, settings.reserves),
        node_allocatable(settings, machine),
    )
