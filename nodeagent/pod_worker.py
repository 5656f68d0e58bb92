"""One worker for each pod: it carries out what the lifecycle decides, and reports.

The loop is the whole design: take the newest update (earlier ones that were not looked at are gone), ask
``lifecycle.decide`` for actions, begin them as tasks of their own, publish the status, sleep until something happens.
Everything that happens (an exit, a probe's verdict, an action's end, a new spec) changes the state and wakes the loop;
nothing else changes the state. All of it runs on one event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from flotilla.api.objects import KubeObject, is_deleting, uid_of
from flotilla.api.workloads import pod_is_ready
from flotilla.clocks import shown_unix_s, steady_unix_s
from nodeagent import lifecycle
from nodeagent.container_worker import ContainerWorker
from nodeagent.ends import UNKNOWN_END
from nodeagent.lifecycle import (
    Action,
    PrepareSandbox,
    ReleaseSandbox,
    ResizeContainer,
    StartContainer,
    StopContainer,
    containers_of,
)
from nodeagent.pacing import WAITS
from nodeagent.pod_context import PodContext
from nodeagent.pod_events import pod_event
from nodeagent.pod_state import ContainerState, Ended, PodRecord, PodState, Stop
from nodeagent.pod_status import build_status, next_change_unix_s
from nodeagent.restarts import LONGEST_PULL_DELAY_S, retry_delay_s
from nodeagent.sandbox import with_address
from nodeagent.volumes.payload import VolumeError

logger = logging.getLogger(__name__)

FINAL_PHASES = ("Succeeded", "Failed")
REBOOTED = "The node was restarted while the container ran"
REMOVED_GRACE_LIMIT_S = 30.0


def _begun() -> PodState:
    now = time.time()
    return PodState(now, start_ahead_s=now - steady_unix_s())


def restored(record: PodRecord, boot_id: str) -> PodState:
    """The state to go on from. After a reboot nothing runs any more, and containers start again without a back-off."""
    state = PodState(
        start_time_unix_s=record.start_time_unix_s,
        initialized=record.initialized,
        containers={name: ContainerState(each) for name, each in record.containers.items()},
        stop=record.stop,
    )
    if record.boot_id == boot_id:
        state.sandbox, state.sandbox_phase = record.sandbox, "ready" if record.sandbox else "absent"
    else:
        _forget_boot(record, state)
    if record.released:
        state.sandbox_phase = "released"
    _bound_waits(state, steady_unix_s())
    return state


def _bound_waits(state: PodState, now: float) -> None:
    """Nothing lasts longer than it could at most, whatever the clock was set to since the record was written."""
    for each in state.containers.values():
        if each.record.retry_at_unix_s > now + LONGEST_PULL_DELAY_S:
            each.record = replace(each.record, retry_at_unix_s=now)
    if state.stop is not None and state.stop.since_unix_s > now:
        state.stop = replace(state.stop, since_unix_s=now)
    state.start_ahead_s = max(0.0, state.start_time_unix_s - now)


def _forget_boot(record: PodRecord, state: PodState) -> None:
    """End all runs, and let init containers prepare the new sandbox unless the pod never restarts anything."""
    if record.status.get("phase") in FINAL_PHASES:
        return
    again = lifecycle.restart_policy(record.pod) != "Never"
    initial = {each["name"] for each in lifecycle.init_containers(record.pod)}
    state.initialized = state.initialized and not again
    lost = Ended(255, UNKNOWN_END, time.time(), REBOOTED)
    for name, each in state.containers.items():
        run = each.record.run
        if run is not None and (run.ended is None or (again and name in initial)):
            each.record = each.record.with_ended(lost, failures=0, retry_at_unix_s=0.0)


async def until_released(workers: Sequence[PodWorker], *, timeout_s: float) -> bool:
    """Wait until nothing is left of any of these pods; whether that came within the time."""
    stirred = asyncio.Event()
    for worker in workers:
        worker.listeners.add(stirred)
    try:
        async with asyncio.timeout(timeout_s):
            while not all(worker.over or worker.released for worker in workers):
                stirred.clear()
                await stirred.wait()
    except TimeoutError:
        return False
    finally:
        for worker in workers:
            worker.listeners.discard(stirred)
    return True


class PodWorker:
    """The pod ``pod`` on this node, from its assignment to the report that nothing is left of it."""

    def __init__(self, pod: KubeObject, context: PodContext, *, record: PodRecord | None = None) -> None:
        self._pod, self._context = pod, context
        self._state = restored(record, context.boot_id) if record else _begun()
        self._status: KubeObject = record.status if record else {}
        self._adopted = record is not None
        self._workers: dict[str, ContainerWorker] = {}
        self._wake = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._pending: KubeObject | None = None
        self._removal_grace_s: float | None = None
        self._termination: Stop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.listeners: set[asyncio.Event] = set()
        self.over = False
        context.sandboxes.adopt(pod)

    # ---- what others call ----

    @property
    def pod(self) -> KubeObject:
        return self._pod

    @property
    def state(self) -> PodState:
        return self._state

    @property
    def assigned(self) -> KubeObject:
        """The newest object given, whether or not the loop has looked at it."""
        return self._pod if self._pending is None else self._pending

    @property
    def status(self) -> KubeObject:
        """The status as last published."""
        return self._status

    def update(self, pod: KubeObject) -> None:
        """The pod as assigned now; of several updates between two turns of the loop the last counts."""
        self._pending = pod
        self._wake.set()

    def remove(self, *, whole_grace: bool = False) -> None:
        """The pod is no longer this node's: end it gracefully, in half a minute at most or in all the time it has."""
        grace_s = lifecycle.grace_s(self._pod)
        self._removal_grace_s = grace_s if whole_grace else min(grace_s, REMOVED_GRACE_LIMIT_S)
        self._wake.set()

    def terminate(self, stop: Stop) -> None:
        """The node ends the pod for a cause of its own, which its status shows (``stop.kind`` is ``terminated``)."""
        if self._status.get("phase") not in FINAL_PHASES:
            self._termination = stop
            self._wake.set()

    def refuse(self, reason: str, message: str) -> None:
        """The node does not take the pod; to be called before it is run."""
        self._state.stop = Stop("terminated", steady_unix_s(), 0.0, reason, message)
        self._state.sandbox_phase = "released"
        self._context.events(pod_event(self._pod, "Warning", reason, message))

    async def discard_ended(self) -> None:
        """Remove what containers that have ended left in their writable layers; their logs stay."""
        for name, state in list(self._state.containers.items()):
            if not state.busy:
                await self._worker(name).discard()

    @property
    def released(self) -> bool:
        """Whether nothing is left of the pod on the node but its logs and its record."""
        return self._state.sandbox_phase == "released"

    def objects_changed(self) -> None:
        """Objects that the pod may refer to have changed: refresh its volumes, and try again what waited for them."""
        for each in self._state.containers.values():
            if each.record.waiting is not None and each.record.waiting.reason == "CreateContainerConfigError":
                each.record = replace(each.record, retry_at_unix_s=0.0)
        if self._state.sandbox_phase != "ready":
            self._state.sandbox_retry_at_unix_s = 0.0
        elif self._pod["spec"].get("volumes") and self._group is not None:
            self.spawn(self._refresh_volumes())
        self._wake.set()

    async def run(self) -> None:
        """Work until nothing is left of a pod that had to go. Cancelling leaves its containers running."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._resume()
                while not self._gone:
                    self._wake.clear()
                    await self._sleep(self._turn())
                for task in self._tasks:
                    task.cancel()
        finally:
            self.over = True
            self._tell()
            for worker in self._workers.values():
                worker.detach()
        self._context.report(self._pod, self._status, terminated=True)
        await self._context.blocking(self._forget)

    def _forget(self) -> None:
        """Remove the logs, then the record that would let a later agent find them."""
        shutil.rmtree(self._context.starter.log_directory(self._pod), ignore_errors=True)
        self._context.store.remove(uid_of(self._pod))

    # ---- what its containers call ----

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._group is not None
        task = self._group.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step would leave the coroutine unawaited.
        task.add_done_callback(lambda _: work.close())
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            logger.exception("pod_work_failed", extra={"pod_uid": uid_of(self._pod)})

    def changed(self) -> None:
        self._wake.set()

    def record(self) -> PodRecord:
        """What is kept of the pod on disk."""
        return PodRecord(
            pod=self._pod,
            boot_id=self._context.boot_id,
            start_time_unix_s=self._state.start_time_unix_s,
            sandbox=self._state.sandbox if self._state.sandbox_phase in ("ready", "releasing") else None,
            initialized=self._state.initialized,
            containers={name: each.record for name, each in self._state.containers.items()},
            stop=self._state.stop,
            status=self._status,
            released=self._state.sandbox_phase == "released",
        )

    def save(self) -> None:
        self._context.store.save(uid_of(self._pod), self.record())

    # ---- the loop ----

    @property
    def _gone(self) -> bool:
        leaving = self._state.stop is not None and self._state.stop.kind in ("deleted", "removed")
        return leaving and self._state.sandbox_phase == "released"

    def _worker(self, name: str) -> ContainerWorker:
        if name not in self._workers:
            self._workers[name] = ContainerWorker(name, self, self._context)
        return self._workers[name]

    def _resume(self) -> None:
        if not self._adopted:
            if (self._pod.get("status") or {}).get("phase") in FINAL_PHASES:
                self._state.sandbox_phase = "released"
            return
        for container in containers_of(self._pod):
            self._worker(container["name"]).adopt()

    def _turn(self) -> float | None:
        """One turn of the loop; when the next one is due by itself (steady Unix seconds)."""
        now = steady_unix_s()
        self._take_update(now)
        if self._state.sandbox_phase == "released":
            self._publish(now)
            self._settle()
            return None
        decision = lifecycle.decide(self._pod, self._state, now)
        if decision.stop is not None:
            self._end(decision.stop)
            decision = lifecycle.decide(self._pod, self._state, now)
        self._state.initialized = lifecycle.initialized(self._pod, self._state)
        for action in decision.actions:
            self._begin(action)
        self._publish(now)
        self._settle()
        moments = [decision.wake_at_unix_s, next_change_unix_s(self._pod, self._state, now)]
        return min((moment for moment in moments if moment is not None), default=None)

    async def _sleep(self, until_unix_s: float | None) -> None:
        if self._gone:
            return
        if until_unix_s is None:
            await self._wake.wait()
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, until_unix_s - steady_unix_s()), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _take_update(self, now: float) -> None:
        pod, self._pending = self._pending, None
        if pod is not None:
            changed = pod["metadata"].get("labels"), pod["metadata"].get("annotations")
            before = self._pod["metadata"].get("labels"), self._pod["metadata"].get("annotations")
            self._pod = pod
            if changed != before and self._state.sandbox_phase == "ready" and pod["spec"].get("volumes"):
                self.spawn(self._refresh_volumes())
        if is_deleting(self._pod):
            grace = self._pod["metadata"].get("deletionGracePeriodSeconds")
            self._end(Stop("deleted", now, lifecycle.grace_s(self._pod) if grace is None else float(grace)))
        elif self._removal_grace_s is not None:
            self._end(Stop("removed", now, self._removal_grace_s))
        elif self._termination is not None and not self.released:
            self._end(self._termination)

    def _end(self, stop: Stop) -> None:
        """The pod has to end. Of two reasons the first stays, of two deadlines the earlier."""
        before = self._state.stop
        if before is None:
            self._state.stop = stop
            logger.info("pod_stopping", extra={"pod_uid": uid_of(self._pod), "why": stop.kind, "grace_s": stop.grace_s})
        elif (before.fails and not stop.fails) or stop.deadline_unix_s < before.deadline_unix_s:
            earliest = min(before.deadline_unix_s, stop.deadline_unix_s)
            kind = stop.kind if before.fails else before.kind
            self._state.stop = replace(before, kind=kind, grace_s=max(0.0, earliest - before.since_unix_s))
        else:
            return
        # The deadline stands also if this agent dies before the status, which a stop need not change.
        self.save()
        for worker in self._workers.values():
            worker.abandon()
            worker.hurry()

    def _publish(self, now: float) -> None:
        status = build_status(
            self._pod,
            self._state,
            previous=self._status or self._pod.get("status") or {},
            node=self._context.node,
            now=now,
            clock_set_by_s=shown_unix_s(now) - now,
        )
        if status == self._status:
            return
        self._status = status
        self.save()
        self._tell()
        self._context.report(self._pod, status, terminated=False)

    def _tell(self) -> None:
        for event in self.listeners:
            event.set()

    # ---- actions ----

    def _begin(self, action: Action) -> None:
        match action:
            case PrepareSandbox():
                if not self._context.pacer.may_start(self._pod, self._paced):
                    return
                self._state.sandbox_phase = "preparing"
                self.spawn(self._prepare())
            case StartContainer(name):
                self._state.container(name).starting = True
                self.spawn(self._worker(name).start())
            case StopContainer(name):
                self._state.container(name).stopping = True
                self.spawn(self._worker(name).stop(action))
            case ResizeContainer(name):
                self._state.container(name).resizing = True
                self.spawn(self._worker(name).resize())
            case ReleaseSandbox():
                self._state.sandbox_phase = "releasing"
                self.spawn(self._release())

    def _paced(self, waits: bool) -> None:
        if waits:
            self._context.events(pod_event(self._pod, "Normal", "StartPaced", WAITS))
            self._state.sandbox_message = WAITS
        elif self._state.sandbox_message == WAITS:
            self._state.sandbox_message = ""
        self._wake.set()

    def _settle(self) -> None:
        """Let others start, unless this pod still is to get ready."""
        ends = self._state.stop is not None or self._state.sandbox_phase == "released"
        if ends or self._status.get("phase") in FINAL_PHASES or pod_is_ready({"status": self._status}):
            self._context.pacer.settled(uid_of(self._pod))

    async def _prepare(self) -> None:
        state, context = self._state, self._context
        try:
            state.sandbox = await context.blocking(context.sandboxes.prepare, self._pod, context.objects)
        except Exception as error:
            state.sandbox_phase = "absent"
            state.sandbox_failures += 1
            state.sandbox_retry_at_unix_s = steady_unix_s() + retry_delay_s(state.sandbox_failures)
            state.sandbox_message = str(error)
            reason = "FailedMount" if isinstance(error, VolumeError) else "FailedCreatePodSandBox"
            context.events(pod_event(self._pod, "Warning", reason, str(error)))
            logger.warning("sandbox_failed", extra={"pod_uid": uid_of(self._pod), "error": str(error)})
        else:
            state.sandbox_phase, state.sandbox_failures, state.sandbox_message = "ready", 0, ""
            if state.sandbox.warning:
                context.events(pod_event(self._pod, "Warning", "HostUsers", state.sandbox.warning))
        self._wake.set()

    async def _release(self) -> None:
        state, context = self._state, self._context
        try:
            for container in containers_of(self._pod):
                await self._worker(container["name"]).clear()
            await context.blocking(context.sandboxes.release, self._pod)
        except Exception as error:
            state.sandbox_failures += 1
            delay_s = retry_delay_s(state.sandbox_failures)
            logger.warning("sandbox_not_released", extra={"pod_uid": uid_of(self._pod), "error": str(error)})
            await asyncio.sleep(delay_s)
            state.sandbox_phase = "ready"
        else:
            state.sandbox_phase = "released"
            self.save()
            self._tell()
        self._wake.set()

    async def _refresh_volumes(self) -> None:
        pod = with_address(self._pod, self._state.sandbox, self._context.node.host_ip)
        try:
            await self._context.blocking(self._context.sandboxes.update, pod, self._context.objects)
        except Exception as error:
            self._context.events(pod_event(self._pod, "Warning", "FailedMount", str(error)))
