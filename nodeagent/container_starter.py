"""From a container's spec to a running process, and away again.

The steps are the kubelet's: image, configuration, create, start, with an event for each; a step's failure is told by
the reason that a waiting container shows. The run is announced before anything of it exists, so that an agent that dies
in between finds it again and clears it away.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from flotilla.api.objects import KubeObject, name_of, namespace_of, uid_of
from flotilla.api.workloads import qos_class
from nodeagent.cgroups import PodCgroups
from nodeagent.cgroups.limits import container_limits, oci_resources, oom_score_adjust
from nodeagent.container_mounts import pod_file_mounts, shared_memory_mounts, termination_mount, volume_mounts
from nodeagent.image_pulls import ImagePuller, Images
from nodeagent.image_volumes import ImageVolumes
from nodeagent.images.image import Image, ImagePullError
from nodeagent.images.rootfs import mount_rootfs, unmount_rootfs
from nodeagent.images.store import PullPolicy
from nodeagent.lifecycle import resources_of
from nodeagent.logs import ROTATED_SUFFIX
from nodeagent.pod_events import EventSink, pod_event
from nodeagent.pod_state import Run, Sandbox
from nodeagent.runtime.apparmor import apparmor_profile
from nodeagent.runtime.containers import Containers, NewContainer
from nodeagent.runtime.errors import ContainerConfigError
from nodeagent.runtime.mount_points import make_linked_places
from nodeagent.runtime.oci import ContainerRuntimeError
from nodeagent.runtime.processes import ProcessIdentity, lowest_oom_score
from nodeagent.runtime.programs import has_small_programs
from nodeagent.runtime.security import (
    allows_escalation,
    capabilities_of,
    masked_paths,
    readonly_paths,
    seccomp_of,
)
from nodeagent.runtime.spec import (
    SEARCH_PATH,
    BundleRequest,
    Device,
    ImageDefaults,
    Mount,
    arguments_of,
    build_spec,
    security_context,
)
from nodeagent.runtime.users import require_mapped, resolve_user
from nodeagent.sandbox import Sandboxes, with_address
from nodeagent.volumes.binds import ContainerBinds
from nodeagent.volumes.payload import VolumeObjects

logger = logging.getLogger(__name__)


class StartRefusedError(Exception):
    """A container could not be started: ``reason`` as a waiting container shows it, ``message`` for the user.

    ``run`` is set when the runtime had begun with it, which makes the failure an end of that run.
    """

    def __init__(self, reason: str, message: str, *, run: Run | None = None, exit_code: int = 128) -> None:
        super().__init__(message)
        self.reason, self.message, self.run, self.exit_code = reason, message, run, exit_code


class EnvironmentSource(Protocol):
    """A container's own variables in order, everything resolved. Raises ContainerConfigError."""

    def __call__(self, pod: KubeObject, container: KubeObject) -> list[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What containers are told and limited by: sizes in bytes, ``seccomp`` the directory of Localhost profiles.

    ``lowest_oom_score`` is the least ``oom_score_adj`` that the agent may give.
    """

    host_ip: str
    memory_bytes: int
    swap_accounting: bool
    seccomp: Path
    lowest_oom_score: int = field(default_factory=lowest_oom_score)


@dataclass(frozen=True, slots=True)
class Order:
    """One container to start."""

    pod: KubeObject
    container: KubeObject
    attempt: int
    sandbox: Sandbox
    joins: ProcessIdentity | None = None  # whose process namespace it shares
    volume_images: Mapping[str, Image] = field(default_factory=dict)  # what its image volumes are to hold


class ContainerStarter:
    """Starts and removes the containers of one node, a few at a time: more in flight only makes each slower."""

    def __init__(
        self,
        data_dir: Path,
        *,
        images: Images,
        containers: Containers,
        cgroups: PodCgroups,
        sandboxes: Sandboxes,
        objects: VolumeObjects,
        environment: EnvironmentSource,
        node: NodeFacts,
        executor: Executor,
        events: EventSink,
        in_flight: int = 6,
    ) -> None:
        self._data_dir, self._containers = data_dir, containers
        self._puller = ImagePuller(images, objects, events)
        self._image_volumes = ImageVolumes(data_dir / "pods", self._puller)
        self._cgroups, self._sandboxes, self._objects = cgroups, sandboxes, objects
        self._environment, self._node, self._executor, self._events = environment, node, executor, events
        self._slots = asyncio.Semaphore(in_flight)

    async def pull(self, pod: KubeObject, container: KubeObject) -> Image:
        """The container's image, present on the node. Raises StartRefusedError."""
        policy: PullPolicy = container.get("imagePullPolicy") or "IfNotPresent"
        try:
            return await self._puller.pull(pod, container["image"], policy=policy, container=container["name"])
        except ImagePullError as error:
            raise StartRefusedError(error.reason, error.message) from error

    async def pull_volumes(self, pod: KubeObject, container: KubeObject) -> dict[str, Image]:
        """The images of the container's volumes, present on the node. Raises StartRefusedError."""
        try:
            return await self._image_volumes.pull(pod, container)
        except ImagePullError as error:
            raise StartRefusedError(error.reason, error.message) from error

    async def start(self, order: Order, image: Image, *, announce: Callable[[Run], None]) -> Run:
        """Create and start one run; ``announce`` is called with it before anything of it exists.

        Raises StartRefusedError. What has been made of a failed run stays until ``remove``.
        """
        run = Run(
            id=os.urandom(32).hex(),
            attempt=order.attempt,
            image=order.container["image"],
            image_id=image.name_by_digest(order.container["image"]),
            created_unix_s=time.time(),
            stop_signal=(order.container.get("lifecycle") or {}).get("stopSignal") or image.config.stop_signal,
            resources=resources_of(order.container),
        )
        loop = asyncio.get_running_loop()
        apart = self._containers.runtimes.is_apart(order.sandbox.handler)
        binds = self._sandboxes.binds(uid_of(order.pod), run.id, order.sandbox.users, apart=apart)
        async with self._slots:
            announce(run)
            try:
                config = await loop.run_in_executor(self._executor, self._configure, order, image, run, binds)
                return await self._launch(order, run, config)
            except ContainerConfigError as error:
                self._event(order.pod, order.container, "Warning", "Failed", f"Error: {error}")
                raise StartRefusedError("CreateContainerConfigError", str(error), run=run) from error
            except OSError as error:
                self._event(order.pod, order.container, "Warning", "Failed", f"Error: {error}")
                raise StartRefusedError("CreateContainerError", str(error), run=run) from error
            finally:
                await loop.run_in_executor(self._executor, binds.release)

    async def _launch(self, order: Order, run: Run, config: KubeObject) -> Run:
        name = order.container["name"]
        new = NewContainer(
            run.id,
            uid_of(order.pod),
            config,
            self.log_path(order.pod, name, run.attempt),
            terminal=bool(order.container.get("tty")),
            stdin=bool(order.container.get("stdin")),
            stdin_once=bool(order.container.get("stdinOnce")),
            handler=order.sandbox.handler,
        )
        try:
            supervised = await self._containers.create(new)
            run = replace(run, process=supervised.process, conmon=supervised.conmon)
            self._event(order.pod, order.container, "Normal", "Created", f"Created container: {name}")
            await self._containers.start(run.id)
        except ContainerRuntimeError as error:
            self._event(order.pod, order.container, "Warning", "Failed", f"Error: {error.message}")
            raise StartRefusedError("RunContainerError", error.message, run=run, exit_code=error.exit_code) from error
        self._event(order.pod, order.container, "Normal", "Started", f"Started container {name}")
        return replace(run, started_unix_s=time.time())

    async def remove(self, run_id: str, *, force: bool = False) -> None:
        """Remove a run's container and root file system. Raises ContainerRuntimeError, OSError."""
        await self._containers.delete(run_id, force=force)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, unmount_rootfs, self.rootfs(run_id))

    def rootfs(self, run_id: str) -> Path:
        """The directory of a run's root file system."""
        return self._data_dir / "rootfs" / run_id

    def log_directory(self, pod: Mapping[str, Any]) -> Path:
        """Where the logs of all the pod's containers are."""
        return self._data_dir / "logs" / f"{namespace_of(pod)}_{name_of(pod)}_{uid_of(pod)}"

    def log_path(self, pod: Mapping[str, Any], container: str, attempt: int) -> Path:
        """The log file of one run."""
        return self.log_directory(pod) / container / f"{attempt}.log"

    def termination_file(self, pod: Mapping[str, Any], container: str, attempt: int) -> Path:
        """The file for a run's termination message."""
        return self._data_dir / "pods" / uid_of(pod) / "termination" / container / str(attempt)

    def discard_files(self, pod: Mapping[str, Any], container: str, attempt: int) -> None:
        """Remove the log and the termination message of a run that nobody can ask for any more."""
        log = self.log_path(pod, container, attempt)
        for file in (log, log.with_name(log.name + ROTATED_SUFFIX), self.termination_file(pod, container, attempt)):
            file.unlink(missing_ok=True)

    def _event(self, pod: KubeObject, container: KubeObject, type_: str, reason: str, message: str) -> None:
        self._events(pod_event(pod, type_, reason, message, container=container["name"]))

    def _configure(self, order: Order, image: Image, run: Run, binds: ContainerBinds) -> KubeObject:
        """Mount the root file system and resolve everything into the OCI configuration. Blocks; in a thread."""
        pod = with_address(order.pod, order.sandbox, self._node.host_ip)
        container, spec = order.container, pod["spec"]
        rootfs = mount_rootfs(image.layers, directory=self.rootfs(run.id), users=order.sandbox.users)
        environment = dict(_split(each) for each in image.config.env) | dict(self._environment(pod, container))
        pod_context, context = security_context(spec), security_context(container)
        capabilities = capabilities_of(context)
        limits = container_limits(container)
        defaults = ImageDefaults(image.config.entrypoint, image.config.cmd, image.config.working_dir)
        arguments = arguments_of(container, defaults, environment)
        search = (environment.get("PATH") or SEARCH_PATH).split(":")
        whose = f'pod: "{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})", container: {container["name"]}'
        user = resolve_user(rootfs, image.config.user, pod_context, context, whose=whose)
        if order.sandbox.users is not None:
            require_mapped(user)
        mounts = self._mounts(replace(order, pod=pod), run, environment, binds)
        make_linked_places(rootfs, mounts, owner=order.sandbox.users.first_id if order.sandbox.users else 0)
        request = BundleRequest(
            pod=pod,
            container=container,
            rootfs=rootfs,
            image=defaults,
            environment=list(environment.items()),
            user=user,
            capabilities=capabilities,
            seccomp=seccomp_of(
                pod_context,
                context,
                capabilities,
                profiles=self._node.seccomp,
                small_programs=has_small_programs(rootfs, arguments, search),
            ),
            masked=masked_paths(context),
            readonly=readonly_paths(context),
            apparmor=apparmor_profile(pod_context, context),
            no_new_privileges=not allows_escalation(context),
            mounts=mounts,
            hostname=self._sandboxes.host_name(pod),
            cgroups_path=self._cgroups.container_path(uid_of(pod), run.id),
            resources=oci_resources(
                limits, version=self._cgroups.layout.version, swap_accounting=self._node.swap_accounting
            ),
            oom_score_adjust=max(
                oom_score_adjust(container, pod_qos=qos_class(spec), node_memory_bytes=self._node.memory_bytes),
                self._node.lowest_oom_score,
            ),
            network_namespace=Path(order.sandbox.netns) if order.sandbox.netns else None,
            process_namespace=self._process_namespace(order),
            cgroup_namespace=self._cgroups.layout.version == 2,
            devices=host_devices() if context.get("privileged") else (),
            users=order.sandbox.users,
        )
        return build_spec(request)

    def _process_namespace(self, order: Order) -> Path | None:
        shared = self._sandboxes.process_namespace(order.pod, order.sandbox)
        return shared or (Path(f"/proc/{order.joins.pid}/ns/pid") if order.joins else None)

    def _mounts(self, order: Order, run: Run, environment: Mapping[str, str], binds: ContainerBinds) -> list[Mount]:
        pod, container = order.pod, order.container
        volumes = self._sandboxes.volumes(pod, self._objects) if container.get("volumeMounts") else {}
        volumes |= self._image_volumes.mount(pod, order.volume_images, order.sandbox.users)
        termination = self.termination_file(pod, container["name"], run.attempt)
        return [
            *pod_file_mounts(container, binds.place(self._sandboxes.directory(uid_of(pod)))),
            termination_mount(container, termination),
            *shared_memory_mounts(pod, container, self._sandboxes.shared_memory(uid_of(pod))),
            *volume_mounts(pod, container, volumes, environment=environment, binds=binds),
        ]


def _split(assignment: str) -> tuple[str, str]:
    name, _, value = assignment.partition("=")
    return name, value


def host_devices() -> list[Device]:
    """The host's device nodes that a privileged container gets; terminals, shared memory and the like it has itself."""
    found: list[Device] = []
    for directory, below, names in os.walk("/dev"):
        below[:] = [name for name in below if name not in ("pts", "shm", "fd", "mqueue", ".udev", ".lxc")]
        for name in names:
            path = os.path.join(directory, name)  # noqa: PTH118
            status = os.lstat(path)
            kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
            if kind and name not in ("console", "tty"):
                numbers = os.major(status.st_rdev), os.minor(status.st_rdev)
                found.append(Device(path, kind, *numbers, stat.S_IMODE(status.st_mode)))
    return found
