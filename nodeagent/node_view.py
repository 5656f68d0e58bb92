"""The node's pods as one picture, for those that look at all of them: pages, eviction, disk accounting.

Taken on the agent's loop from what the workers and the sampler know, without a system call; what has to be read or
measured is left to whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flotilla.api.objects import KubeObject, uid_of
from nodeagent.cgroups import CgroupStats
from nodeagent.container_starter import ContainerStarter
from nodeagent.disk.places import PodPlaces, disk_directories
from nodeagent.lifecycle import containers_of, grace_s
from nodeagent.metrics.sampler import Round, TrackedContainer
from nodeagent.pod_worker import FINAL_PHASES, PodWorker

RunningContainer = tuple[TrackedContainer, CgroupStats]


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod: ``pod`` has the status as last reported; ``running`` are its sampled containers.

    ``cgroup_path`` is empty where the pod has no cgroup: it has not begun, or has ended and is still an object.
    """

    pod: KubeObject
    worker: PodWorker
    cgroup_path: str
    places: PodPlaces
    running: tuple[RunningContainer, ...]
    start_time_unix_s: float

    @property
    def uid(self) -> str:
        return uid_of(self.pod)

    @property
    def active(self) -> bool:
        """Whether the pod has neither ended nor is about to."""
        return self.worker.state.stop is None and self.pod["status"].get("phase") not in FINAL_PHASES

    @property
    def grace_s(self) -> float:
        """Its own termination grace period."""
        return grace_s(self.pod)

    @property
    def memory_bytes(self) -> int:
        """The working sets of its containers."""
        return sum(row.memory_working_set_bytes for _, row in self.running)

    @property
    def processes(self) -> int:
        return sum(row.pids for _, row in self.running)


class NodeView:
    """``workers`` gives the pods' workers, ``newest`` and ``recent`` rounds, ``pod_cgroup`` a path by uid or ``""``."""

    def __init__(
        self,
        data_dir: Path,
        *,
        workers: Callable[[], list[PodWorker]],
        newest: Callable[[], Round | None],
        recent: Callable[[], tuple[Round, ...]],
        starter: ContainerStarter,
        pod_cgroup: Callable[[str], str],
    ) -> None:
        self.data_dir = data_dir
        self.newest, self.recent = newest, recent
        self._workers, self._starter, self._pod_cgroup = workers, starter, pod_cgroup

    def pods(self, where: Callable[[KubeObject], bool] = lambda pod: True) -> list[PodView]:
        """Every pod that the node holds anything of and for which ``where`` holds."""
        workers = [worker for worker in self._workers() if not worker.over and where(worker.pod)]
        newest = self.newest() if workers else None
        running: dict[str, list[RunningContainer]] = {}
        for container, row in zip(newest.containers, newest.rows, strict=True) if newest is not None else ():
            running.setdefault(container.pod_uid, []).append((container, row))
        return [self._view(worker, tuple(running.get(uid_of(worker.pod), ()))) for worker in workers]

    def uids(self) -> set[str]:
        """The uids of all pods."""
        return {uid_of(worker.pod) for worker in self._workers()}

    def _view(self, worker: PodWorker, running: tuple[RunningContainer, ...]) -> PodView:
        pod = worker.pod
        status = worker.status or pod.get("status") or {}
        return PodView(
            pod={**pod, "status": status},
            worker=worker,
            cgroup_path=self._pod_cgroup(uid_of(pod)),
            places=self._places(worker, running),
            running=running,
            start_time_unix_s=worker.state.start_time_unix_s,
        )

    def _places(self, worker: PodWorker, running: tuple[RunningContainer, ...]) -> PodPlaces:
        pod, layers, logs = worker.pod, {}, {}
        used_ns = {container.container_id: row.cpu_usage_ns for container, row in running}
        activity: list[object] = []
        for container in containers_of(pod):
            name = container["name"]
            state = worker.state.containers.get(name)
            run = state.record.run if state is not None else None
            logs[name] = self._starter.log_directory(pod) / name
            if run is not None:
                layers[name] = self._starter.rootfs(run.id) / "upper"
                # What runs and has not been sampled yet may have written anything.
                activity.append((run.id, used_ns.get(run.id, object() if run.live else -1)))
        directory = self.data_dir / "pods" / uid_of(pod) / "volumes"
        volumes = {name: directory / name for name in disk_directories(pod["spec"])}
        return PodPlaces(uid_of(pod), layers, logs, volumes, tuple(activity))
