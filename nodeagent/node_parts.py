"""The parts of a node below the sessions, built from the settings and wired to each other. No part runs yet."""

from __future__ import annotations

import shutil
from concurrent.futures import Executor
from dataclasses import dataclass

from nodeagent.assigned import Assignments
from nodeagent.cgroups import CgroupLayout, PodCgroups, detect
from nodeagent.container_starter import ContainerStarter, NodeFacts
from nodeagent.images.store import ImageStore
from nodeagent.isolation.choice import UserChoice
from nodeagent.isolation.support import NodeSupport
from nodeagent.node_facts import Machine, capacity_of
from nodeagent.pod_context import PodContext, ServingGate
from nodeagent.pod_environment import PodEnvironment
from nodeagent.pod_status import NodeIdentity
from nodeagent.pod_store import PodStore
from nodeagent.reserves import pods_limits
from nodeagent.runtime.containers import Containers
from nodeagent.runtime.oci import ContainerRuntimeError
from nodeagent.runtime.runtimes import Runtimes, find_runtimes
from nodeagent.runtime_classes import RuntimeHandlers
from nodeagent.sandbox import Sandboxes
from nodeagent.settings import AgentSettings
from nodeagent.upward import Uplink
from nodeagent.volumes.fields import NodeResources
from nodeagent.volumes.persistent import PersistentVolumes
from nodeagent.volumes.removal import VolumeRemovals
from nodeagent.volumes.volumes import Volumes


@dataclass(frozen=True, slots=True)
class NodeParts:
    """What keeps pods on this machine."""

    layout: CgroupLayout
    cgroups: PodCgroups
    runtimes: Runtimes
    containers: Containers
    images: ImageStore
    volumes: Volumes
    sandboxes: Sandboxes
    starter: ContainerStarter
    context: PodContext
    support: NodeSupport
    removals: VolumeRemovals


def build_parts(
    settings: AgentSettings,
    *,
    machine: Machine,
    address: str,
    boot_id: str,
    assignments: Assignments,
    uplink: Uplink,
    executor: Executor,
    out_of_service: ServingGate,
) -> NodeParts:
    """Build all parts. Raises ContainerRuntimeError and CgroupError where the machine lacks something."""
    layout = detect()
    resources = NodeResources(machine.cpus * 1000, machine.memory_bytes)
    whole = pods_limits(capacity_of(machine, settings.data_dir), settings.reserves)
    cgroups = PodCgroups(settings.cgroup_parent, layout, pids_limit=settings.pids_limit, whole=whole)
    runtimes = _runtimes(settings, layout)
    containers = Containers(settings.run_dir, runtimes=runtimes, cgroups=cgroups, conmon=_conmon())
    images = ImageStore(settings.data_dir / "images", parallel_pulls=settings.parallel_pulls)
    volumes, removals = _build_volumes(settings, resources, assignments, uplink, executor)
    support = NodeSupport(settings.data_dir, settings.run_dir)
    users = UserChoice(settings.user_namespaces, support)
    sandboxes = Sandboxes(
        run_dir=settings.run_dir,
        host_ip=address,
        cgroups=cgroups,
        volumes=volumes,
        users=users,
        bind_all=runtimes.apart,
    )
    sandboxes.use_handlers(RuntimeHandlers(assignments.runtime_class, runtimes.handlers))
    starter = ContainerStarter(
        settings.data_dir,
        images=images,
        containers=containers,
        cgroups=cgroups,
        sandboxes=sandboxes,
        objects=assignments,
        environment=PodEnvironment(assignments, resources),
        node=NodeFacts(
            host_ip=address,
            memory_bytes=machine.memory_bytes,
            swap_accounting=_counts_swap(layout, machine),
            seccomp=settings.data_dir / "seccomp",
        ),
        executor=executor,
        events=uplink.event,
    )
    context = PodContext(
        starter=starter,
        containers=containers,
        sandboxes=sandboxes,
        cgroups=cgroups,
        objects=assignments,
        store=PodStore(settings.data_dir / "pods", settings.private_dir / "records"),
        executor=executor,
        node=NodeIdentity(address, runtimes.default.name),
        boot_id=boot_id,
        events=uplink.event,
        report=uplink.statuses.report,
        out_of_service=out_of_service,
    )
    return NodeParts(
        layout, cgroups, runtimes, containers, images, volumes, sandboxes, starter, context, support, removals
    )


def _build_volumes(
    settings: AgentSettings, resources: NodeResources, assignments: Assignments, uplink: Uplink, executor: Executor
) -> tuple[Volumes, VolumeRemovals]:
    data_dir, name = settings.data_dir, settings.node_name
    persistent = PersistentVolumes(data_dir / "local-volumes", node_name=name)
    volumes = Volumes(data_dir / "pods", files_dir=settings.run_dir / "volumes", node=resources, persistent=persistent)
    report = uplink.volumes_removed
    return volumes, VolumeRemovals(assignments, persistent, node_name=name, report=report, executor=executor)


def _runtimes(settings: AgentSettings, layout: CgroupLayout) -> Runtimes:
    return find_runtimes(
        layout,
        settings.run_dir,
        wanted=settings.runtime,
        directories=(settings.data_dir, settings.run_dir),
        handlers=settings.runtime_handlers,
    )


def _conmon() -> str:
    found = shutil.which("conmon")
    if found is None:
        raise ContainerRuntimeError("conmon is not installed")
    return found


def _counts_swap(layout: CgroupLayout, machine: Machine) -> bool:
    """Whether memory limits can cover swap too."""
    if layout.version == 2:
        return machine.swap
    return layout.has("memory") and (layout.directory("memory", "/") / "memory.memsw.limit_in_bytes").exists()
