"""From assignments to running pods: one pod worker for each pod that the node holds.

Messages are applied to the assignments first, then everything that they touched is told: pods to their workers,
ConfigMaps and Secrets to the pods of their namespace, services and endpoints to the service rules. A pod whose uid is
not assigned is let go, but only by a message that may remove: an agent started again keeps every pod it finds on disk
until a server has spoken, and does not begin until then with one that is only in the checkpoint. Static pods are the
node's own: what decides over them is its directory of manifests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from flotilla.api.conditions import SHUTTING_DOWN
from flotilla.api.mirrors import is_mirror
from flotilla.api.objects import KubeObject, is_deleting, name_of, namespace_of, uid_of
from flotilla.clocks import steady_unix_s
from nodeagent.admission import Refusal
from nodeagent.assigned import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RUNTIME_CLASSES,
    SECRETS,
    SERVICES,
    Assignments,
    ObjectKey,
)
from nodeagent.lifecycle import containers_of, grace_s
from nodeagent.metrics.sampler import TrackedContainer
from nodeagent.node_shutdown import (
    DISRUPTION,
    REJECTED_MESSAGE,
    TERMINATED,
    TERMINATED_MESSAGE,
    Period,
    group_of,
)
from nodeagent.pod_context import PodContext
from nodeagent.pod_state import PodRecord, ResizeProblem, Stop
from nodeagent.pod_worker import PodWorker, until_released
from nodeagent.restarts import retry_delay_s
from nodeagent.room import resize_problem
from nodeagent.service_sync import ServiceSync
from nodeagent.static_pods.manifests import is_static, same_name
from nodeagent.static_pods.mirrors import Mirrors

logger = logging.getLogger(__name__)

RELEASE_SLACK_S = 2.0


class StaticSource(Protocol):
    """The node's static pods by uid; ``read`` once these are all that there are."""

    @property
    def read(self) -> bool: ...

    def pods(self) -> Mapping[str, KubeObject]: ...

    def remember(self, pods: Collection[KubeObject]) -> None:
        """Pods that an earlier agent had from it."""


class NoStaticPods:
    """A node that has no directory of manifests, or none any more."""

    read = True

    def pods(self) -> Mapping[str, KubeObject]:
        return {}

    def remember(self, pods: Collection[KubeObject]) -> None:
        return None


_REFERENCED = (CONFIG_MAPS, SECRETS, PERSISTENT_VOLUME_CLAIMS)


class Worker:
    """All pods of this node. Lives on the agent's event loop."""

    def __init__(
        self,
        assignments: Assignments,
        context: PodContext,
        services: ServiceSync,
        *,
        allocatable: Mapping[str, int],
        mirrors: Mirrors,
        static: StaticSource | None = None,
        refusal: Callable[[KubeObject], Refusal | None] = lambda pod: None,
    ) -> None:
        self.assignments = assignments
        self._mirrors, self._static = mirrors, static or NoStaticPods()
        self._context = replace(context, resize_problem=self._resize_problem, report=mirrors.report)
        self._services, self._refusal = services, refusal
        self._allocatable = allocatable
        self._pods: dict[str, PodWorker] = {}
        # Pods that have ended here and that the server has yet to take back; whether they were being deleted then.
        self._ended: dict[str, bool] = {}
        self._spoken = False
        # Pods of the checkpoint without a record: not begun yet, or ended and forgotten right before an agent died.
        self._doubtful: set[str] = set()
        self._shutting_down = False
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Work until cancelled, which leaves all containers running."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._mirrors.run(), name="mirrors")
            records = self._context.store.load()
            for uid, record in records.items():
                self._add(uid, record.pod, record=record)
            static = [record.pod for record in records.values() if is_static(record.pod) and record.stop is None]
            self._static.remember(static)
            self._doubtful = {uid_of(pod) for pod in self.assignments.all(PODS)} - records.keys()
            self._carry_out(set(self.assignments.objects))
            self.static_changed()
            await asyncio.get_running_loop().create_future()

    # ---- what sessions, logs and the sampler ask ----

    def applied(self, keys: Iterable[ObjectKey]) -> None:
        """Carry out what a message has changed."""
        keys = set(keys)
        told = (self.assignments.get(*key) for key in keys if key.resource == PODS)
        self._doubtful -= {uid_of(pod) for pod in told if pod is not None}
        self._carry_out(keys)

    def _carry_out(self, keys: set[ObjectKey]) -> None:
        touched = {key.resource for key in keys}
        if PODS in touched:
            self._reconcile()
        namespaces = {key.namespace for key in keys if key.resource in _REFERENCED}
        classes = {key.name for key in keys if key.resource == RUNTIME_CLASSES}
        for worker in self._pods.values():
            if namespace_of(worker.pod) in namespaces or worker.pod["spec"].get("runtimeClassName") in classes:
                worker.objects_changed()
        if touched & {SERVICES, ENDPOINT_SLICES}:
            self._services.changed()

    def let_go(self) -> None:
        """A complete set is in force: pods that it does not contain are not this node's, now and from now on."""
        self._spoken = True
        self._doubtful.clear()
        self._reconcile()

    def static_changed(self) -> None:
        """The node's static pods may be others now."""
        if self._group is not None:
            self._reconcile()
            if self._static.read:
                self._mirrors.want(self._static.pods())

    async def shut_down(self, periods: Sequence[Period]) -> None:
        """End all pods, group by group, and take no others; returns when they have ended or their time is over.

        It may be begun before ``run``. Cancelling leaves the pods that have not been ended yet.
        """
        self._shutting_down = True
        for index, (_, seconds) in enumerate(periods):
            group = [worker for worker in self._pods.values() if group_of(worker.pod, periods) == index]
            for worker in group:
                worker.terminate(_shutdown_stop(worker.pod, seconds))
            if not await until_released(group, timeout_s=seconds + RELEASE_SLACK_S):
                logger.warning("pods_outlive_shutdown", extra={"count": sum(not each.released for each in group)})

    def resume(self) -> None:
        """Take pods again. Those that have been ended stay so, but the node's own begin anew."""
        self._shutting_down = False
        self._reconcile()

    def pods(self) -> list[PodWorker]:
        """The workers of all pods on this node."""
        return list(self._pods.values())

    def pod(self, uid: str) -> PodWorker | None:
        """The worker of a pod by the uid that the API has for it."""
        return self._pods.get(self._mirrors.static_uid(uid))

    def running(self) -> list[TrackedContainer]:
        """Every running container with its cgroup, for the sampler."""
        found: list[TrackedContainer] = []
        for uid, worker in self._pods.items():
            for container in containers_of(worker.pod):
                state = worker.state.containers.get(container["name"])
                run = state.record.run if state is not None else None
                if run is not None and run.live:
                    path = self._context.cgroups.container_path(uid, run.id)
                    pod = self._mirrors.shown(worker.pod)
                    found.append(
                        TrackedContainer(
                            namespace_of(pod),
                            name_of(pod),
                            uid_of(pod),
                            container["name"],
                            run.id,
                            run.image,
                            path,
                            run.started_unix_s,
                        )
                    )
        return found

    def addresses(self) -> list[tuple[KubeObject, str]]:
        """Every pod that has an address, with it."""
        return [
            (self._mirrors.shown(worker.pod), worker.state.sandbox.ip)
            for worker in self._pods.values()
            if worker.state.sandbox is not None
        ]

    def _resize_problem(self, pod: KubeObject) -> ResizeProblem | None:
        others = [worker.pod for worker in self._pods.values() if not worker.over]
        return resize_problem(pod, others, self._allocatable)

    # ---- reconciling ----

    def _reconcile(self) -> None:
        listed = self.assignments.all(PODS)
        assigned = {uid_of(pod): pod for pod in listed if not is_mirror(pod)}
        self._mirrors.assigned(pod for pod in listed if is_mirror(pod))
        self._ended = {uid: deleting for uid, deleting in self._ended.items() if uid in assigned}
        for uid, pod in assigned.items():
            worker = self._pods.get(uid)
            if worker is None:
                if uid in self._doubtful:
                    continue
                if uid not in self._ended:
                    self._add(uid, pod)
                elif is_deleting(pod) and not self._ended[uid]:
                    # The server takes a pod back only if it was being deleted when it heard of its end.
                    self._ended[uid] = True
                    self._context.report(pod, pod.get("status") or {}, terminated=True)
            elif worker.assigned is not pod:
                worker.update(pod)
        if self._spoken and self.assignments.settled:
            for uid, worker in self._pods.items():
                if uid not in assigned and not is_static(worker.pod):
                    worker.remove()
        self._reconcile_static()

    def _reconcile_static(self) -> None:
        """A changed manifest is another pod of the same name, which waits for the one before to be gone."""
        wanted = self._static.pods()
        for uid, pod in wanted.items():
            if (
                uid not in self._pods
                and not self._shutting_down
                and not any(same_name(pod, worker.pod) for worker in self._pods.values())
            ):
                self._add(uid, pod)
        for uid, worker in self._pods.items():
            stop = worker.state.stop
            ended_by_shutdown = stop is not None and stop.reason == TERMINATED and not self._shutting_down
            if self._static.read and is_static(worker.pod) and (uid not in wanted or ended_by_shutdown):
                worker.remove(whole_grace=True)

    def _add(self, uid: str, pod: KubeObject, *, record: PodRecord | None = None) -> None:
        assert self._group is not None
        worker = PodWorker(pod, self._context, record=record)
        if record is None and self._shutting_down:
            worker.refuse(SHUTTING_DOWN, REJECTED_MESSAGE)
        elif record is None and (refusal := self._refusal(pod)) is not None:
            worker.refuse(refusal.reason, refusal.message)
        self._pods[uid] = worker
        self._group.create_task(self._work(uid, worker), name=f"pod {namespace_of(pod)}/{name_of(pod)}")

    async def _work(self, uid: str, worker: PodWorker) -> None:
        """Run a pod's worker; one that fails by a defect is begun anew from the pod's record, ever more slowly."""
        task = asyncio.current_task()
        assert task is not None
        failures = 0
        while True:
            try:
                await worker.run()
                break
            except Exception:
                failures += 1
                logger.exception("pod_worker_failed", extra={"pod_uid": uid})
                if task.cancelling():
                    # A task group that is cancelled while it fails raises the failure only (Python 3.11).
                    raise asyncio.CancelledError from None
            await asyncio.sleep(retry_delay_s(failures))
            record = self._context.store.load_one(uid)
            worker = PodWorker(worker.assigned, self._context, record=record)
            self._pods[uid] = worker
        del self._pods[uid]
        if is_static(worker.pod):
            self._reconcile_static()
        else:
            self._ended[uid] = is_deleting(worker.assigned)


def _shutdown_stop(pod: KubeObject, seconds: float) -> Stop:
    grace = min(grace_s(pod), seconds)
    return Stop("terminated", steady_unix_s(), grace, TERMINATED, TERMINATED_MESSAGE, DISRUPTION)
